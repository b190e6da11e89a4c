"""Serves versions from an external engine: W&B Inference, or a shared vLLM server."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import checkpoint
from engine.artifact import Adapter, Checkpoint, named_in_errors, open_version
from engine.client import ServedModel
from engine.external_server import ExternalServer, ListedModel
from engine.options import FetchBase, OnProgress, ServeOptions, ignore_progress
from schemas.errors import ArtifactError, ConfigurationError
from schemas.refs import ArtifactRef
from schemas.settings import Settings

_HELLO = [{"role": "user", "content": "Hello"}]


class ExternalEngine:
    """Serves model versions from an engine that someone else runs (``WEIGHBRIDGE_ENGINE_URL``).

    | version      | server                      | what happens                          |
    |--------------|-----------------------------|---------------------------------------|
    | adapter      | has ``/load_lora_adapter``  | It is loaded, served and unloaded.    |
    | adapter      | has no such endpoint        | It is requested by its artifact URI.  |
    | checkpoint   | lists it in ``/models``     | It is requested by its name.          |
    | checkpoint   | does not list it            | It is refused.                        |

    **A vLLM server** has the endpoint if it was started with ``--enable-lora``, a sufficient
    ``--max-lora-rank``, and ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``. It reads the adapter itself, so
    WEIGHBRIDGE_CACHE_DIR must have the same path there. It must serve the adapter's base under the
    name in the adapter's configuration: vLLM 0.32 also loads an adapter of another model, even with
    other shapes, and then generates nonsense. A version with its own chat template needs
    ``--trust-request-chat-template``; for any other version, the server's template is used.

    **W&B Inference** (``https://api.inference.wandb.ai/v1``, with a W&B API key) loads an adapter
    when a request names the URI of its artifact. The artifact must have the type ``lora``, the
    storage region ``coreweave-us``, the base as ``wandb.base_model`` in its metadata, and on most
    bases a rank of at most 16 (https://docs.wandb.ai/inference/lora). OPENAI_PROJECT_ID names the
    project that pays, as ``team/project``. Two things were not verified, because the service was
    not available: whether the URI may name a version in a Registry, which is what a gate watches
    (the page only shows ``team/project/name:version``); and whether a request may carry a chat
    template.

    The server chooses the type of the base's weights and ignores ``options.dtype``.

    Args:
        settings: The operator's choices.

    Raises:
        ConfigurationError: WEIGHBRIDGE_ENGINE_URL is not set.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.engine_url is None:
            raise ConfigurationError(
                "There is no external engine: WEIGHBRIDGE_ENGINE_URL is not set."
            )
        self._retries = settings.engine_retries
        self._server = ExternalServer(str(settings.engine_url).rstrip("/"), settings.engine_key)

    @contextmanager
    def serve(
        self,
        folder: Path,
        name: str,
        on_progress: OnProgress = ignore_progress,
        *,
        options: ServeOptions = ServeOptions(),  # noqa: B008 (frozen)
        fetch_base: FetchBase | None = None,
    ) -> Iterator[ServedModel]:
        """Serve a version until the block ends.

        One request is sent before the block begins, so that a server that refuses the version's
        name or its chat template fails once and not in every row. Do not call this in a running
        event loop.

        Args:
            folder: Folder of the downloaded version.
            name: The version's name in traces, ``entity/project/name:version``.
            on_progress: Receives the progress.
            options: The options of the gate and the ChatModel.
            fetch_base: Not used, because the server has the base.

        Yields:
            The served model.

        Raises:
            ArtifactError: The version is refused, here or by the server.
            ConfigurationError: The server refuses the key or a request, or it cannot serve such a
                version or the gate's options.
            PlatformError: The server does not answer, or it failed a request in the block, so the
                measurements in the block are incomplete.
        """
        _check_options(options)
        version = _open_plain(folder, name)
        with self._name_on_server(version, name, on_progress) as (model, is_loaded):
            served = ServedModel.remote(
                name,
                base_url=self._server.url,
                api_key=self._server.key,
                model=model,
                chat_template=checkpoint.chat_template(folder),
                retries=self._retries,
                failure=self._server.failure,
                lost_on_restart=is_loaded,
            )
            asyncio.run(served.chat(_HELLO, temperature=0.0, max_tokens=1))
            with served.fail_on_request_errors():
                yield served

    def stop(self) -> None:
        """Do nothing: the engine is not ours to end."""

    @contextmanager
    def _name_on_server(
        self, version: Adapter | Checkpoint, name: str, on_progress: OnProgress
    ) -> Iterator[tuple[str, bool]]:
        """Load the version if needed; yield its name on the server and whether it was loaded."""
        listed = self._server.models(name)
        if isinstance(version, Checkpoint):
            yield self._require_listed(name, listed), False
        elif loaded := self._server.load(version, name):
            on_progress(f"the engine loaded the adapter as {loaded}")
            try:
                self._require_base(version, name, listed)
                yield loaded, True
            finally:
                self._server.unload(loaded, on_progress)
        else:
            on_progress("the engine has no /load_lora_adapter: requesting the artifact by its URI")
            yield ArtifactRef.parse(name).uri, False

    def _require_base(self, adapter: Adapter, name: str, listed: list[ListedModel]) -> None:
        base = adapter.config.base_model_name_or_path
        if not any(model.has_name(base) for model in listed):
            raise ConfigurationError(
                f"{name} was trained on {base}, which the engine at {self._server.url} does not"
                " list.",
                fix="If it serves that model, give it that name there (vLLM:"
                f" --served-model-name '{base}').",
            )

    def _require_listed(self, name: str, listed: list[ListedModel]) -> str:
        if name not in [model.id for model in listed]:
            raise ConfigurationError(
                f"{name} is a full checkpoint, which cannot be loaded into the engine at"
                f" {self._server.url}.",
                fix="Unset WEIGHBRIDGE_ENGINE_URL, so that the worker starts its own engine.",
            )
        return name


def _check_options(options: ServeOptions) -> None:
    """Refuse the options that only the server's operator can set."""
    wanted = {"cm_quantize": options.quantize, "trust_remote_code": options.trust_remote_code}
    if names := " and ".join(setting for setting, value in wanted.items() if value):
        raise ConfigurationError(
            f"{names} cannot be set for an external engine.",
            fix="Remove it from the gate, or unset WEIGHBRIDGE_ENGINE_URL.",
        )


def _open_plain(folder: Path, name: str) -> Adapter | Checkpoint:
    with named_in_errors(folder, name):
        version = open_version(folder)
    if isinstance(version, Adapter) and (found := version.config.unmergeable()):
        # A server that does not support such a setting ignores it and serves another model.
        raise ArtifactError(
            f"{name} uses {', '.join(found)}, which not every server supports.",
            fix="Log a plain LoRA, or unset WEIGHBRIDGE_ENGINE_URL for the worker's own engine.",
        )
    return version
