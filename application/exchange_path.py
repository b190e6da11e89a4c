"""Find what a gate's ``exchange`` names in a stored application.

The path goes through fields, dictionary keys and list positions, and along references into nested
objects. All of it is read as JSON.
"""

from typing import Any, NamedTuple

from weave.trace.refs import (
    DICT_KEY_EDGE_NAME,
    LIST_INDEX_EDGE_NAME,
    OBJECT_ATTR_EDGE_NAME,
    ObjectRef,
    OpRef,
)

from application.exchange_errors import broken_reference, is_an_op, leads_nowhere
from application.stored_json import (
    custom_type,
    field_names,
    object_reference,
    read_json,
    reference,
)
from schemas.errors import ConfigurationError
from schemas.refs import WeaveRef

# A reference may lead to another one. More than this one after the other are a circle.
_MOST_REFERENCES = 20


class Place(NamedTuple):
    """A value on the path.

    Attributes:
        path: Its path from the application, as in ``pipeline.llm``; empty for the application.
        value: Its JSON. References to objects are followed, references to ops and tables are not.
        ref: The version that holds this value and nothing else, by digest; None if the value is a
            part of the place before.
        project: The project that stores it, ``entity/project``.
    """

    path: str
    value: Any
    ref: ObjectRef | None
    project: str


class Located(NamedTuple):
    """The way from an application to a value in it.

    Attributes:
        application: The application, by digest.
        exchange: The path that the gate names.
        places: The application, the values on the way, and the value.
        keys: The field, key or position by which each place leads to the next one.
    """

    application: ObjectRef
    exchange: str
    places: tuple[Place, ...]
    keys: tuple[str | int, ...]

    @property
    def end(self) -> Place:
        """The value that the path leads to."""
        return self.places[-1]

    def below(self, part: str) -> "Located":
        """Go on by one part of the path.

        Raises:
            ConfigurationError: There is nothing of this name, or it cannot be read.
        """
        key = _key(self.end.value, part)
        if key is None:
            raise leads_nowhere(
                self.application.uri, self.exchange, part, self.end.path, self.end.value
            )
        path = f"{self.end.path}.{part}".lstrip(".")
        try:
            found = follow(self.end.value[key], path, self.end.project)
        except ConfigurationError as error:
            raise broken_reference(self.application.uri, self.exchange, path, error) from error
        return self._replace(places=(*self.places, found), keys=(*self.keys, key))


def locate(application: str, path: str) -> Located:
    """Follow a dotted path through an application.

    Args:
        application: ``weave:///entity/project/object/name:version``; the version is a digest or an
            alias.
        path: For example ``pipeline.llm.model`` or ``judges.0.model``.

    Raises:
        ConfigurationError: There is no such application, it is an op, or the path leads nowhere.
    """
    ref, value = read_application(application)
    start = Place(path="", value=value, ref=ref, project=f"{ref.entity}/{ref.project}")
    located = Located(application=ref, exchange=path, places=(start,), keys=())
    for part in path.split("."):
        located = located.below(part)
    return located


def read_application(application: str) -> tuple[ObjectRef, Any]:
    """Read an application's version, by digest, and its JSON.

    Raises:
        ConfigurationError: There is no such object, or it is an op.
    """
    if isinstance(reference(application), OpRef):
        raise is_an_op(application)
    named = ObjectRef.parse_uri(WeaveRef.parse(application).uri)
    digest, value = read_json(named)
    if custom_type(value) == "Op":
        raise is_an_op(application)
    return _by_digest(named, digest), value


def follow(value: Any, path: str, project: str) -> Place:
    """Follow a stored value to where it is stored, if it refers to an object or to a part of one.

    A version that was fetched, changed and published by hand refers to parts of the version before
    (docs/upstream/weave-protocol.md, "Publishing a changed object").

    Args:
        value: The stored value.
        path: Its path from the application.
        project: The project that has it, ``entity/project``.

    Raises:
        ConfigurationError: The reference leads to nothing, or to nothing that this key may read.
    """
    ref: ObjectRef | None = None
    edges: list[str] = []  # kinds and names of parts that are still to be followed, in turn
    for _ in range(_MOST_REFERENCES):
        target = object_reference(value)
        if target is None:
            return Place(path=path, value=value, ref=ref, project=project)
        digest, value = read_json(target)
        project = f"{target.entity}/{target.project}"
        edges = [*target.extra, *edges]
        ref = None if edges else _by_digest(target, digest)
        while edges and object_reference(value) is None:
            value = _part(value, edges[0], edges[1], target)
            edges = edges[2:]
    raise ConfigurationError(f"{value} refers to itself.")


def _by_digest(ref: ObjectRef, digest: str) -> ObjectRef:
    return ObjectRef(entity=ref.entity, project=ref.project, name=ref.name, _digest=digest)


def _key(value: Any, part: str) -> str | int | None:
    if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
        return int(part)
    return part if part in field_names(value) else None


_EDGES: dict[str, type[str] | type[int]] = {
    OBJECT_ATTR_EDGE_NAME: str,
    DICT_KEY_EDGE_NAME: str,
    LIST_INDEX_EDGE_NAME: int,
}


def _part(value: Any, edge: str, name: str, target: ObjectRef) -> Any:
    """Return the part that a reference names by ``/attr/NAME``, ``/key/NAME`` or ``/index/0``."""
    try:
        return value[_EDGES[edge](name)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{target.uri} does not exist.") from error
