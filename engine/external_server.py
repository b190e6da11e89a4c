"""Lists the models of an external server, and loads and unloads adapters there."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx2
import openai
from pydantic import BaseModel, SecretStr, ValidationError

from engine.artifact import Adapter
from engine.client import Endpoint
from engine.command import SERVED_MODEL
from engine.connections import NO_KEY
from engine.options import OnProgress
from schemas.errors import ArtifactError, ConfigurationError, PlatformError, WeighbridgeError

# Seconds in which a running server lists its models.
_CHECK_TIMEOUT = 5.0
# Seconds in which a server reads an adapter, perhaps from a network disk.
_LOAD_TIMEOUT = 600.0

# The status of servers without the endpoint.
_NO_ENDPOINT = (404, 405)
# The status of vLLM 0.32 for an adapter that it cannot serve, mostly 500, for example for too high
# a rank. Its message then contains "LoRA"; that of an engine that died does not.
_CANNOT_LOAD = (400, 422, 500)


class ListedModel(BaseModel):
    """One entry of ``/models``.

    Attributes:
        id: The name in requests.
        root: The folder or hub id from which it was loaded, if the server reports that.
    """

    id: str
    root: str | None = None

    def has_name(self, name: str) -> bool:
        """Whether this is its name, or the end of the folder from which it was loaded."""
        return name in (self.id, self.root) or (self.root or "").endswith(f"/{name}")


class _ModelList(BaseModel):
    data: list[ListedModel]


class ExternalServer:
    """A server that someone else runs. Its calls are not retried, so a dead server fails at once.

    Args:
        url: Base URL, such as ``https://host/v1``.
        key: API key; None if the server needs none.
    """

    def __init__(self, url: str, key: SecretStr | None) -> None:
        self.url = url
        self.key = key
        self._endpoint = Endpoint(f"The engine at {url}", self.failure, key)

    def failure(self, what: str) -> PlatformError:
        """An error that says what the server did, such as "stopped answering"."""
        return PlatformError(f"The engine at {self.url} {what}.")

    def models(self, name: str) -> list[ListedModel]:
        """List the server's models.

        Args:
            name: The version to serve, for error messages.

        Raises:
            PlatformError: The server does not answer.
            ConfigurationError: It refuses the key or is not OpenAI-compatible.
        """
        with self._client(_CHECK_TIMEOUT, name) as client:
            answer = client.get("/models", cast_to=httpx2.Response)
        try:
            return _ModelList.model_validate_json(answer.content).data
        except ValidationError as error:
            raise ConfigurationError(
                f"The server at {self.url} is not an OpenAI-compatible server.",
                fix="Check WEIGHBRIDGE_ENGINE_URL, which usually ends in /v1.",
            ) from error

    def load(self, adapter: Adapter, name: str) -> str | None:
        """Load an adapter (vLLM: ``POST /v1/load_lora_adapter``).

        Args:
            adapter: The adapter, in a folder that the server can read under the same path.
            name: The version's name, for error messages.

        Returns:
            The adapter's name on the server, which is unique so that no other worker unloads it.
            None if the server has no such endpoint.

        Raises:
            ArtifactError: The server cannot serve the adapter.
            ConfigurationError: The server refuses the key or cannot read the folder.
            PlatformError: The server does not answer.
        """
        loaded = f"{SERVED_MODEL}-{_digest(adapter)[:12]}-{uuid4().hex[:8]}"
        body = {"lora_name": loaded, "lora_path": str(adapter.folder.absolute())}
        with self._client(_LOAD_TIMEOUT, name) as client:
            try:
                client.post("/load_lora_adapter", body=body, cast_to=httpx2.Response)
            except openai.APIStatusError as error:
                said = self._endpoint.describe(error)
                if error.status_code in _NO_ENDPOINT and loaded not in said:
                    return None
                raise self._load_error(error, said, adapter, name) from None
        return loaded

    def unload(self, loaded: str, on_progress: OnProgress) -> None:
        """Unload an adapter. A failure is only reported: it leaves a name that is not used again.

        Args:
            loaded: The name that ``load`` returned.
            on_progress: Receives a failure.
        """
        try:
            with self._client(_CHECK_TIMEOUT, loaded) as client:
                body = {"lora_name": loaded}
                client.post("/unload_lora_adapter", body=body, cast_to=httpx2.Response)
        except WeighbridgeError as error:
            on_progress(f"the engine did not unload {loaded}: {error}")

    def _load_error(
        self, error: openai.APIStatusError, said: str, adapter: Adapter, name: str
    ) -> WeighbridgeError:
        if error.status_code in _NO_ENDPOINT:
            return ConfigurationError(
                f"The engine at {self.url} cannot read {name} in {adapter.folder}: {said}",
                fix="Give the server WEIGHBRIDGE_CACHE_DIR under the same path as the worker.",
            )
        if error.status_code in _CANNOT_LOAD and "lora" in said.lower():
            return ArtifactError(
                f"The engine at {self.url} cannot serve {name}: {said}",
                fix="Log an adapter that it can serve, or unset WEIGHBRIDGE_ENGINE_URL.",
            )
        return self._endpoint.to_error(error, name)

    @contextmanager
    def _client(self, timeout: float, name: str) -> Iterator[openai.OpenAI]:
        key = self.key.get_secret_value() if self.key else NO_KEY
        with openai.OpenAI(
            base_url=self.url, api_key=key, timeout=timeout, max_retries=0
        ) as client:
            try:
                yield client
            except openai.APIError as error:
                raise self._endpoint.to_error(error, name) from None


def _digest(adapter: Adapter) -> str:
    with (adapter.folder / "adapter_model.safetensors").open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()
