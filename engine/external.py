"""An engine that somebody else runs: W&B Inference, or a vLLM server that several share."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import checkpoint
from engine.artifact import Adapter, Checkpoint, called_by_name, open_version
from engine.client import ServedModel
from engine.options import FetchBase, OnProgress, ServeOptions, ignore_progress
from engine.shared_server import ListedModel, SharedServer
from schemas.errors import ArtifactError, ConfigurationError
from schemas.refs import ArtifactRef
from schemas.settings import Settings

_HELLO = [{"role": "user", "content": "Hello"}]


class ExternalEngine:
    """Serves model versions from an engine that somebody else runs (``WEIGHBRIDGE_ENGINE_URL``).

    | the version  | the server                 | the version is                     |
    |--------------|----------------------------|------------------------------------|
    | an adapter   | has ``/load_lora_adapter`` | loaded, served, unloaded           |
    | an adapter   | has not                    | asked for by its artifact URI      |
    | a checkpoint | lists it in ``/models``    | asked for by that name             |
    | a checkpoint | does not                   | refused: it cannot be loaded there |

    **A vLLM server** has that endpoint when it was started with ``--enable-lora``, a
    ``--max-lora-rank`` that is high enough, and ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``. It reads
    the adapter itself, so WEIGHBRIDGE_CACHE_DIR must be a folder that it sees under the same path.
    It must serve the adapter's base under the name that the adapter gives it: vLLM 0.32 also loads
    an adapter of another model, of other shapes even, and answers nonsense. A version that brings
    its own chat template needs ``--trust-request-chat-template``; for one that brings none, the
    server's own is used.

    **W&B Inference** (``https://api.inference.wandb.ai/v1``, with a W&B API key) loads an adapter
    when it is asked for the URI of its artifact: one of type ``lora``, in the storage region
    ``coreweave-us``, with the base as ``wandb.base_model`` in its metadata, and of rank 16 at most
    on most bases (https://docs.wandb.ai/inference/lora). OPENAI_PROJECT_ID names the project that
    pays, as ``team/project``. Not verified, for want of the service: that the URI may be that of a
    version in a Registry, which is what a gate watches, where the page only shows
    ``team/project/name:version``; and that a request may carry a chat template.

    How the base's weights are stored (``options.dtype``) is the server's choice.

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
        self._server = SharedServer(str(settings.engine_url).rstrip("/"), settings.engine_key)

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
        """Serve a version until the block is left.

        It answers once before the block is entered, so that the server refuses its name or its
        chat template at once, not in every row. Not to be called in a running event loop.

        Args:
            folder: Where the version was downloaded to.
            name: The version's name in traces, ``entity/project/name:version``.
            on_progress: Hears how it goes.
            options: What the gate and the ChatModel ask for.
            fetch_base: Not used: the server has the base.

        Yields:
            The model that answers.

        Raises:
            ArtifactError: The version is refused, here or by the server.
            ConfigurationError: The server refuses the key or a request, or cannot serve what the
                version is or what the gate asks for.
            PlatformError: The server does not answer, or it failed a request in the block: what
                was measured there is then incomplete.
        """
        _refuse(options)
        version = _open(folder, name)
        with self._placed(version, name, on_progress) as (model, is_loaded):
            served = ServedModel.remote(
                name,
                base_url=self._server.url,
                api_key=self._server.key,
                model=model,
                chat_template=checkpoint.chat_template(folder),
                retries=self._retries,
                failure=self._server.failure,
                forgets=is_loaded,
            )
            asyncio.run(served.chat(_HELLO, temperature=0.0, max_tokens=1))
            with served.fail_on_request_errors():
                yield served

    def stop(self) -> None:
        """Leave the engine running: it is somebody else's."""

    @contextmanager
    def _placed(
        self, version: Adapter | Checkpoint, name: str, on_progress: OnProgress
    ) -> Iterator[tuple[str, bool]]:
        """Have the server serve a version; yield what it calls it, and whether we loaded it."""
        listed = self._server.models(name)
        if isinstance(version, Checkpoint):
            yield self._listed(name, listed), False
        elif loaded := self._server.load(version, name):
            on_progress(f"the engine loaded the adapter as {loaded}")
            try:
                self._require_base(version, name, listed)
                yield loaded, True
            finally:
                self._server.unload(loaded, on_progress)
        else:
            on_progress(
                "the engine has no /load_lora_adapter: asking it for the artifact by its URI"
            )
            yield ArtifactRef.parse(name).uri, False

    def _require_base(self, adapter: Adapter, name: str, listed: list[ListedModel]) -> None:
        base = adapter.config.base_model_name_or_path
        if not any(model.is_called(base) for model in listed):
            raise ConfigurationError(
                f"{name} was trained on {base}, which the engine at {self._server.url} does not"
                " list.",
                fix=f"If it serves that model, name it so (vLLM: --served-model-name '{base}').",
            )

    def _listed(self, name: str, listed: list[ListedModel]) -> str:
        if name not in [model.id for model in listed]:
            raise ConfigurationError(
                f"{name} is a full checkpoint, which cannot be loaded into the engine at"
                f" {self._server.url}.",
                fix="Unset WEIGHBRIDGE_ENGINE_URL, so that the worker runs an engine of its own.",
            )
        return name


def _refuse(options: ServeOptions) -> None:
    """Refuse what only the server's operator can decide."""
    wanted = {"cm_quantize": options.quantize, "trust_remote_code": options.trust_remote_code}
    if asked := " and ".join(setting for setting, value in wanted.items() if value):
        raise ConfigurationError(
            f"{asked} cannot be asked of an engine that somebody else runs.",
            fix="Drop it from the gate, or unset WEIGHBRIDGE_ENGINE_URL.",
        )


def _open(folder: Path, name: str) -> Adapter | Checkpoint:
    with called_by_name(folder, name):
        version = open_version(folder)
    if isinstance(version, Adapter) and (beyond := version.config.unmergeable()):
        # A server that does not know such a setting ignores it, and serves another model.
        raise ArtifactError(
            f"{name} uses {', '.join(beyond)}, which is more than a LoRA that any server serves.",
            fix="Log a plain LoRA, or unset WEIGHBRIDGE_ENGINE_URL for a worker's own engine.",
        )
    return version
