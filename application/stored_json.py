"""Versions on the Weave server as JSON: read and publish them without their classes and code.

The shape of the JSON: docs/upstream/weave-protocol.md, "Stored objects".
"""

import re
from typing import Any

from weave.trace.context.weave_client_context import require_weave_client
from weave.trace.refs import AnyRef, ObjectRef, OpRef, Ref
from weave.vendor.weave_server_sdk import NotFoundError

from application.trace_call import uncached_trace_call
from schemas.errors import ConfigurationError

# What Weave stores for a value that it cannot store, such as a plain function
# (docs/upstream/weave-protocol.md, "Values that change on the way").
_REPRESENTATION = re.compile(r"<.* at 0x[0-9a-f]+>", re.DOTALL)


def read_json(ref: ObjectRef) -> tuple[str, Any]:
    """Read a version's digest and its stored JSON, without interpreting it.

    Raises:
        ConfigurationError: There is no such version, or this key may not read it.
        PlatformError: The trace server did not answer.
    """
    project = f"{ref.entity}/{ref.project}"
    try:
        with uncached_trace_call(f"read {ref.uri}", passing=NotFoundError):
            answer = require_weave_client().server.obj_read(
                {"project_id": project, "object_id": ref.name, "digest": ref.digest}
            )
    except NotFoundError as error:
        raise ConfigurationError(
            f"{ref.uri} does not exist.",
            fix="Copy the reference from the object's Use tab in Weave into the gate file.",
        ) from error
    return answer.obj.digest, answer.obj.val


def publish_json(entity: str, project: str, name: str, value: Any) -> ObjectRef:
    """Publish JSON as a version of an object. The same JSON always gives the same version.

    Returns:
        The version, by digest. It is now the object's ``latest``.

    Raises:
        ConfigurationError: This key may not write to the project.
        PlatformError: The trace server did not answer.
    """
    with uncached_trace_call(f"publish {name} in {entity}/{project}"):
        answer = require_weave_client().server.obj_create(
            {"obj": {"project_id": f"{entity}/{project}", "object_id": name, "val": value}}
        )
    return ObjectRef(entity=entity, project=project, name=name, _digest=answer.digest)


def copy_file(name: str, digest: str, *, source: str, target: str) -> None:
    """Copy a file of a stored object into another project, where it keeps its digest.

    Args:
        name: The file's name within its object.
        digest: The digest of its contents.
        source: The project that has it, ``entity/project``.
        target: The project that gets it.

    Raises:
        ConfigurationError: This key may not read the one project or not write to the other.
        PlatformError: The trace server did not answer.
    """
    server = require_weave_client().server
    with uncached_trace_call(f"copy the file {name} from {source} to {target}"):
        content = server.file_content_read({"project_id": source, "digest": digest}).content
        server.file_create(
            {"project_id": target, "file": (name, content), "expected_digest": digest}
        )


def reference(value: Any) -> AnyRef | None:
    """Return the reference that a stored value is, or None if it is another value."""
    if not isinstance(value, str) or not value.startswith("weave:///"):
        return None
    try:
        return Ref.parse_uri(value)
    except (ValueError, IndexError):  # text that only begins like one
        return None


def object_reference(value: Any) -> ObjectRef | None:
    """Return the reference to an object, or to a part of one, that a stored value is."""
    found = reference(value)
    return found if isinstance(found, ObjectRef) and not isinstance(found, OpRef) else None


def custom_type(value: Any) -> str | None:
    """Return the type of a value that is stored in files, such as ``Op``; None for plain JSON."""
    if not isinstance(value, dict) or value.get("_type") != "CustomWeaveType":
        return None
    return str(value["weave_type"]["type"])


def is_text(value: Any) -> bool:
    """Whether a stored value is a text: no reference, and no object that Weave could not store."""
    return (
        isinstance(value, str) and reference(value) is None and not _REPRESENTATION.fullmatch(value)
    )


def field_names(value: Any) -> list[str]:
    """Return the names of an object's fields and ops, or the keys of a dictionary."""
    if not isinstance(value, dict) or custom_type(value):
        return []
    is_object = "_class_name" in value
    return [name for name in value if not (is_object and name.startswith("_"))]
