"""Loads a version into a running engine and checks that the engine serves it.

After an exchange the engine computes its fingerprint: a digest of its parameters and of its layers'
outputs for a fixed input (``engine_extension``). Different weights must give a different
fingerprint. Otherwise the engine still holds the previous version, and it is ended.
"""

import json

from engine.control import ControlError
from engine.plan import Plan
from engine.server import REQUEST_ERRORS, EngineServer
from engine.version import Version
from schemas.errors import ArtifactError

# Seconds. An exchange reads the whole checkpoint from the disk.
_EXCHANGE_TIMEOUT = 900.0


def exchange(server: EngineServer, version: Version, digest: str, *, adapter: bool = True) -> None:
    """Replace every weight in a vLLM engine.

    Args:
        server: The engine, with the version's identity.
        version: The version.
        digest: The digest to record as loaded.
        adapter: Whether to merge the version's adapter, if there is one, into its base.

    Raises:
        PlatformError: The engine could not load the weights or still holds the previous ones. It is
            ended, because it may hold parts of both versions.
    """
    merged = version.adapter.folder if version.adapter and adapter else None
    files = {"base": str(version.base.folder), "adapter": str(merged) if merged else None}
    if not server.record.fingerprints:  # the process that started it died before
        take_fingerprint(server)
    server.record_loaded(None)
    try:
        read = _call_workers(server, "load_version", files)
        # Cached prefixes are the previous version's. Running requests are those of a dead worker.
        reset = server.request("POST", "/reset_prefix_cache?reset_running_requests=true")["success"]
        stale = _is_stale(server, read)
    except REQUEST_ERRORS as error:
        server.stop()
        raise server.failure(f"could not load {version.folder}") from error
    if stale:
        server.stop()
        raise server.failure(f"still holds the version before {version.folder}")
    if not reset:
        server.stop()
        raise server.failure(f"still caches prefixes of the version before {version.folder}")
    server.record_loaded(digest)


def take_fingerprint(server: EngineServer) -> None:
    """Record the fingerprint of a vLLM engine with the weights with which it was started.

    Raises:
        PlatformError: The engine did not answer.
    """
    try:
        server.record.fingerprints = {_call_workers(server, "fingerprint", {}): None}
    except REQUEST_ERRORS as error:
        server.stop()
        raise server.failure("started but does not answer") from error
    server.record_loaded(server.record.loaded)


def _is_stale(server: EngineServer, read: str) -> bool:
    """Whether the engine has the fingerprint that it had with different weights."""
    known = server.record.fingerprints
    now = _call_workers(server, "fingerprint", {})
    if now in known and known[now] is None:
        known[now] = _call_workers(server, "stored_digest", {"base": str(server.record.started_on)})
    return known.setdefault(now, read) != read


def _call_workers(server: EngineServer, method: str, arguments: dict[str, str | None]) -> str:
    """Call a method of ``VersionLoader`` in every process of the engine; the results as JSON."""
    body = {"method": method, "kwargs": arguments}
    answer = server.request("POST", "/collective_rpc", body, timeout=_EXCHANGE_TIMEOUT)
    return json.dumps(answer["results"])


def load_lora(server: EngineServer, version: Version, name: str) -> None:
    """Load an adapter into a vLLM engine as LoRA.

    Args:
        server: The engine, which holds the weights of the adapter's base.
        version: The adapter.
        name: The adapter's name in requests.

    Raises:
        ArtifactError: vLLM cannot serve the adapter.
        PlatformError: The engine failed.
    """
    body = {"lora_name": name, "lora_path": str(version.folder)}
    try:
        server.request("POST", "/v1/load_lora_adapter", body, timeout=_EXCHANGE_TIMEOUT)
    except REQUEST_ERRORS as error:
        # vLLM answers 500 for an adapter that it cannot serve, but also when it dies.
        if isinstance(error, ControlError) and "lora" in str(error).lower() and server.is_healthy():
            raise ArtifactError(f"vLLM refuses the adapter {version.folder}: {error}") from error
        raise server.failure(f"could not load {version.folder}") from error


def unload_lora(server: EngineServer, name: str) -> None:
    """Unload an adapter from a vLLM engine, if it is still loaded."""
    try:
        server.request("POST", "/v1/unload_lora_adapter", {"lora_name": name})
    except REQUEST_ERRORS:
        return


def load_into_transformers(server: EngineServer, plan: Plan) -> None:
    """Replace the version in the transformers server.

    Raises:
        ArtifactError: The version cannot be loaded.
        PlatformError: The server failed.
    """
    version, options = plan.version, plan.options
    body = {
        "weights": str(version.base.folder),
        "tokenizer": str(version.tokenizer),
        "adapter": str(version.adapter.folder) if version.adapter else None,
        "dtype": options.dtype,
        "trust_remote_code": options.trust_remote_code,
    }
    server.record_loaded(None)
    try:
        server.request("POST", "/load", body, timeout=_EXCHANGE_TIMEOUT)
    except REQUEST_ERRORS as error:
        if isinstance(error, ControlError) and error.is_client_error:
            raise ArtifactError(f"{version.folder} cannot be loaded: {error}") from error
        server.stop()
        raise server.failure(f"could not load {version.folder}") from error
    server.record_loaded(plan.loaded)
