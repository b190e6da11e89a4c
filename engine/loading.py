"""Gets a version into a running engine, and makes sure that it is the one that answers.

After an exchange the engine's fingerprint is taken: a digest of its parameters, and of what its
layers answer to a fixed input (``engine_extension``). Other weights must give another fingerprint;
else the engine still holds the version before, and is ended.
"""

import json

from engine.control import ControlError
from engine.plan import Plan
from engine.server import UNANSWERED, EngineServer
from engine.version import Version
from schemas.errors import ArtifactError

# Seconds an exchange may take: it reads the whole checkpoint from the disk.
_EXCHANGE_TIMEOUT = 900.0


def exchange(server: EngineServer, version: Version, digest: str, *, adapter: bool = True) -> None:
    """Replace every weight in a vLLM engine.

    Args:
        server: The engine; its identity is the version's.
        version: The version.
        digest: What is remembered as loaded.
        adapter: Whether the version's adapter, if it has one, is merged into its base.

    Raises:
        PlatformError: The engine could not load them, or answers as before; it is ended, as it may
            hold half of each version.
    """
    merged = version.adapter.folder if version.adapter and adapter else None
    files = {"base": str(version.base.folder), "adapter": str(merged) if merged else None}
    if not server.record.fingerprints:  # whoever started it did not come to that
        take_fingerprint(server)
    server.remember(None)
    try:
        read = _ask_workers(server, "load_version", files)
        # Cached prefixes were computed by the version before. Requests that still run are those
        # of a worker that died.
        forgotten = server.ask("POST", "/reset_prefix_cache?reset_running_requests=true")["success"]
        stale = _is_stale(server, read)
    except UNANSWERED as error:
        server.stop()
        raise server.failure(f"could not load {version.folder}") from error
    if stale:
        server.stop()
        raise server.failure(f"holds the version before {version.folder} still")
    if not forgotten:
        server.stop()
        raise server.failure(f"keeps prefixes of the version before {version.folder}")
    server.remember(digest)


def take_fingerprint(server: EngineServer) -> None:
    """Write down what a vLLM engine is with the weights that it was started on.

    Raises:
        PlatformError: The engine did not answer.
    """
    try:
        server.record.fingerprints = {_ask_workers(server, "fingerprint", {}): None}
    except UNANSWERED as error:
        server.stop()
        raise server.failure("started, and does not answer") from error
    server.remember(server.record.loaded)


def _is_stale(server: EngineServer, read: str) -> bool:
    """Whether the engine is what it was with other weights than those it has read now."""
    known = server.record.fingerprints
    now = _ask_workers(server, "fingerprint", {})
    if now in known and known[now] is None:
        known[now] = _ask_workers(server, "stored_digest", {"base": str(server.record.started_on)})
    return known.setdefault(now, read) != read


def _ask_workers(server: EngineServer, method: str, arguments: dict[str, str | None]) -> str:
    """Call a method of ``VersionLoader`` in every process of the engine; their answers in one."""
    body = {"method": method, "kwargs": arguments}
    answer = server.ask("POST", "/collective_rpc", body, timeout=_EXCHANGE_TIMEOUT)
    return json.dumps(answer["results"])


def load_beside(server: EngineServer, version: Version, name: str) -> None:
    """Load an adapter into a vLLM engine beside what it serves already.

    Args:
        server: The engine, with the adapter's base as it is.
        version: The adapter.
        name: What requests call it.

    Raises:
        ArtifactError: vLLM does not take the adapter.
        PlatformError: The engine could not load it, for a reason of its own.
    """
    body = {"lora_name": name, "lora_path": str(version.folder)}
    try:
        server.ask("POST", "/v1/load_lora_adapter", body, timeout=_EXCHANGE_TIMEOUT)
    except UNANSWERED as error:
        # vLLM answers 500 for an adapter that it cannot serve, and for its own end.
        if isinstance(error, ControlError) and "lora" in str(error).lower() and server.is_healthy():
            raise ArtifactError(f"vLLM refuses the adapter {version.folder}: {error}") from error
        raise server.failure(f"could not load {version.folder}") from error


def unload_beside(server: EngineServer, name: str) -> None:
    """Take an adapter out of a vLLM engine; no harm is done if it is not there."""
    try:
        server.ask("POST", "/v1/unload_lora_adapter", {"lora_name": name})
    except UNANSWERED:
        return


def load_into_transformers(server: EngineServer, plan: Plan) -> None:
    """Have the transformers server load a version in place of the one before.

    Raises:
        ArtifactError: The version cannot be loaded.
        PlatformError: The server could not, for a reason of its own.
    """
    version, options = plan.version, plan.options
    body = {
        "weights": str(version.base.folder),
        "tokenizer": str(version.tokenizer),
        "adapter": str(version.adapter.folder) if version.adapter else None,
        "dtype": options.dtype,
        "trust_remote_code": options.trust_remote_code,
    }
    server.remember(None)
    try:
        server.ask("POST", "/load", body, timeout=_EXCHANGE_TIMEOUT)
    except UNANSWERED as error:
        if isinstance(error, ControlError) and error.blames_request:
            raise ArtifactError(f"{version.folder} cannot be loaded: {error}") from error
        server.stop()
        raise server.failure(f"could not load {version.folder}") from error
    server.remember(plan.loaded)
