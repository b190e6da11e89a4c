"""Read objects from the Weave server as data, and make instances of known classes from them.

``ref.get()`` returns proxies whose methods are code from the server, and publishing a changed proxy
stores a damaged version (docs/upstream/weave-protocol.md, "Fetched objects" and "Publishing a
changed object"). This module reads data fields only, so no stored code runs.
"""

from functools import cache
from typing import Any, TypeVar

import weave
from pydantic import BaseModel, ConfigDict, ValidationError
from weave.trace.box import unbox
from weave.trace.context.weave_client_context import require_weave_client
from weave.trace.object_record import ObjectRecord
from weave.trace.ref_util import set_ref
from weave.trace.refs import ObjectRef
from weave.trace.serialization.serialize import from_json
from weave.trace.vals import WeaveObject, unwrap

from application.stored_json import read_json as read_json  # as a part of this module, too
from application.trace_call import trace_call
from schemas.errors import ConfigurationError

Instance = TypeVar("Instance", bound=weave.Object)


class Stored(BaseModel):
    """An object as the server has stored it.

    Attributes:
        ref: Its version, by digest.
        class_name: The name of its class.
        fields: Its data fields and its ops. A value that is stored separately, such as an op or a
            nested object, is an ``ObjectRef``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    ref: ObjectRef
    class_name: str
    fields: dict[str, Any]


def read(uri: str) -> Stored:
    """Read an object of a class.

    Args:
        uri: ``weave:///entity/project/object/name:version``; the version is a digest or an alias.

    Raises:
        ConfigurationError: There is no such object, or it has no class.
    """
    ref = ObjectRef.parse_uri(uri)
    digest, value = read_json(ref)
    record = from_json(value, f"{ref.entity}/{ref.project}", require_weave_client().server)
    if not isinstance(record, ObjectRecord):
        raise ConfigurationError(f"{uri} is not an object of a class.")
    return Stored(
        ref=ObjectRef(entity=ref.entity, project=ref.project, name=ref.name, _digest=digest),
        class_name=_followed(record._class_name),
        fields=vars(record),
    )


def _followed(value: Any) -> Any:
    """Return the value that a reference into another version points to.

    A version that was fetched, changed and published by hand is full of such references
    (docs/upstream/weave-protocol.md, "Publishing a changed object").
    """
    if isinstance(value, ObjectRef) and value.extra:
        with trace_call(f"read {value.uri}"):
            return unbox(unwrap(require_weave_client().get(value)))
    return value


def part(stored: Stored, name: str) -> Stored:
    """Read a nested object, wherever it is stored.

    Args:
        stored: The object that contains it.
        name: The field that holds it.

    Raises:
        ConfigurationError: The field holds no object.
    """
    value = _followed(stored.fields.get(name))
    if isinstance(value, ObjectRef):
        return read(value.uri)
    if isinstance(value, ObjectRecord):  # assigned by hand and never published
        ref = stored.ref.with_attr(name)
        return Stored(ref=ref, class_name=value._class_name, fields=vars(value))
    raise ConfigurationError(f"{stored.ref.uri} has no {name}.")


def make(cls: type[Instance], stored: Stored, **replaced: Any) -> Instance:
    """Make an instance from a stored object's data fields.

    Args:
        cls: The class.
        stored: The source of the values.
        replaced: Values that override the stored ones.

    Returns:
        A new, unpublished instance. Its nested objects keep their versions.

    Raises:
        ConfigurationError: The fields do not fit the class.
    """
    kept = (cls.model_fields.keys() - {"ref"}) - replaced.keys()
    fields = {name: value for name, value in stored.fields.items() if name in kept}
    values = {name: _nested(_followed(value)) for name, value in fields.items()} | replaced
    try:
        return cls(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(
            f"{stored.ref.uri} does not fit {cls.__name__}: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}.",
            fix=f"Publish it with the {cls.__name__} of application/rag.",
        ) from error


def make_unchanged(cls: type[Instance], stored: Stored) -> Instance:
    """Make an instance of a stored object under its own version, so that it is not stored again.

    Raises:
        ConfigurationError: The fields do not fit the class.
    """
    instance = make(cls, stored)
    set_ref(instance, stored.ref)
    return instance


@cache
def _ours() -> dict[str, type[weave.Object]]:
    # Imported late: the application process reads objects without these classes' libraries.
    from application.rag import ChatModel, RagModel, VectorStore

    return {cls.__name__: cls for cls in (RagModel, ChatModel, VectorStore)}


def _nested(value: Any) -> Any:
    if not isinstance(value, ObjectRef):
        return value
    stored = read(value.uri)
    if ours := _ours().get(stored.class_name):
        return make_unchanged(ours, stored)
    instance = require_weave_client().get(value)  # Weave makes its own classes from data, too
    if isinstance(instance, WeaveObject):
        raise ConfigurationError(
            f"{value.uri} is a {stored.class_name}, a class that this worker does not have."
        )
    return instance
