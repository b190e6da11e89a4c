"""The source of an op: what Weave stores of it, compared with what this process imported."""

from typing import Any

from weave.trace.context.weave_client_context import require_weave_client
from weave.trace.ref_util import set_ref
from weave.trace.refs import ObjectRef
from weave.trace.serialization.custom_objs import encode_custom_obj
from weave.trace.serialization.digest import bytes_digest
from weave.trace.serialization.serialize import from_json

from application.stored import read_json
from schemas.errors import ConfigurationError

_FILE = "obj.py"  # Weave's name for it


def source_digest(op: Any) -> str:
    """Return the digest of the source that Weave would store of an op.

    The source holds the values of the module's globals that the op uses, which Weave only finds
    while a client is open.
    """
    encoded = encode_custom_obj(op)
    assert encoded is not None  # noqa: S101 (every op has a serializer)
    source = encoded["files"][_FILE]
    return bytes_digest(source if isinstance(source, bytes) else source.encode())


def stored_source_digest(ref: ObjectRef) -> str:
    """Return the digest of the source that is stored of an op; empty if there is none.

    Raises:
        ConfigurationError: There is no such op.
    """
    _, stored = read_json(ref)
    return str(stored.get("files", {}).get(_FILE, ""))


def stored_op(ref: ObjectRef) -> Any:
    """Run the stored source of an op, and return the op under its stored version.

    Raises:
        ConfigurationError: There is no such op, or its source does not run in this process.
    """
    _, stored = read_json(ref)
    try:
        op = from_json(stored, f"{ref.entity}/{ref.project}", require_weave_client().server)
    except Exception as error:
        raise ConfigurationError(
            f"The stored code of {ref.uri} does not run here: {error}",
            fix="Install what it imports, or publish it from the installed version.",
        ) from error
    set_ref(op, ref)
    return op
