"""Put a new model version into a stored application, which need not be known here.

The application is read and published as JSON: no class of it is imported, and none of its code
runs. What changes is the value at a path, and each object that contains it. They are published
from the inside out under their names, with the same classes, bases and ops.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict
from weave.trace.refs import ObjectRef
from weave.trace.urls import object_version_path

from application.exchange_errors import cannot_be_exchanged, has_no_parameter, takes_no_parameters
from application.exchange_path import Located, Place, follow, locate, read_application
from application.stored_json import (
    copy_file,
    custom_type,
    field_names,
    is_text,
    object_reference,
    publish_json,
)
from schemas.errors import ConfigurationError
from schemas.gates import ChatModelParameters
from schemas.refs import ARTIFACT_SCHEME, ArtifactRef, WeaveRef

# The field of an object that names its model, with the parameters of ChatModelParameters beside it.
_MODEL_FIELD = "chat_model"


class Exchanged(BaseModel):
    """An application with a new model version.

    Attributes:
        ref: Its version, by digest.
        url: Its page in Weave.
        value: The text that names the model version in it, by which the application asks for it.
    """

    model_config = ConfigDict(frozen=True)

    ref: WeaveRef
    url: str
    value: str


def exchange(
    application: str,
    path: str,
    version: ArtifactRef,
    parameters: ChatModelParameters | None = None,
) -> Exchanged:
    """Replace the model at a path of a published application, and publish the result.

    The path leads to a text, or to an object or dictionary whose ``chat_model`` is one. A text that
    is an artifact reference without scheme stays one; every other text becomes the version's
    ``wandb-artifact:///`` URI.

    Every other value stays as it is, and the same arguments always give the same version.
    References to parts of an earlier version, which Weave stores for an object that was fetched
    and changed, become the values that they refer to. If nothing changes, nothing is published.

    All changed objects are published in the application's project, also those that another
    project has: the key needs no access for writing there, and its ``latest`` stays.

    Args:
        application: Reference of the application; the version is a digest or an alias.
        path: Where the model is, through fields, keys and positions: ``pipeline.llm.model``.
        version: The new version.
        parameters: Parameters to set beside the ``chat_model``; the object must have them.

    Raises:
        ConfigurationError: There is no such application, the path leads to nothing that can be
            exchanged, or a parameter does not exist there.
        PlatformError: The trace server did not answer.
    """
    located = locate(application, path)
    name = _model_name(located)
    given = _fitting(parameters, located, name)
    value = _in_notation_of(name.end.value, version)
    if name is located:
        ref = _put_back(located, value)
    else:
        ref = _put_back(located, _with_fields(located, {_MODEL_FIELD: value} | given))
    return Exchanged(
        ref=WeaveRef.parse(ref.uri),
        url=object_version_path(ref.entity, ref.project, ref.name, ref.digest),
        value=value,
    )


def exchanged_value(
    application: str, path: str, parameters: ChatModelParameters | None = None
) -> str:
    """Return the text that names the model at a path now; nothing is published.

    Args:
        application: As for ``exchange``.
        path: As for ``exchange``.
        parameters: Parameters that ``exchange`` would set; they must exist.

    Raises:
        ConfigurationError: As for ``exchange``.
        PlatformError: The trace server did not answer.
    """
    located = locate(application, path)
    name = _model_name(located)
    _fitting(parameters, located, name)
    return str(name.end.value)


def resolved_application(application: str) -> str:
    """Return the reference of a published application by digest, which never moves.

    Raises:
        ConfigurationError: There is no such object, or it is an op.
        PlatformError: The trace server did not answer.
    """
    ref, _ = read_application(application)
    return str(ref.uri)


def _model_name(located: Located) -> Located:
    """Locate the text that names the model: the end of the path, or its ``chat_model``."""
    if is_text(located.end.value):
        return located
    if _MODEL_FIELD in field_names(located.end.value):
        located = located.below(_MODEL_FIELD)
    if is_text(located.end.value):
        return located
    parent = located.places[-2]
    raise cannot_be_exchanged(
        located.application.uri,
        located.end.path,
        located.end.value,
        parent=(parent.path, parent.value),
    )


def _fitting(
    parameters: ChatModelParameters | None, located: Located, name: Located
) -> dict[str, Any]:
    """Return the parameters to set; the object that has the model's name must have them, too."""
    given = parameters.model_dump(exclude_none=True) if parameters else {}
    uri, end = located.application.uri, located.end
    if given and name is located:
        raise takes_no_parameters(uri, end.path, given)
    if missing := [field for field in given if field not in field_names(end.value)]:
        raise has_no_parameter(uri, end.path, end.value, missing)
    return given


def _in_notation_of(name: str, version: ArtifactRef) -> str:
    if name.startswith(ARTIFACT_SCHEME):
        return version.uri
    try:
        ArtifactRef.parse(name)
    except ConfigurationError:
        return version.uri
    return str(version)


def _with_fields(located: Located, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the object at the end of the path with other values in some of its fields."""
    end = located.end
    stored = {name: follow(end.value[name], end.path, end.project).value for name in fields}
    changed = {name: value for name, value in fields.items() if stored[name] != value}
    container: dict[str, Any] = end.value
    return container | changed


def _put_back(located: Located, value: Any) -> ObjectRef:
    """Publish the application with another value at the end of the path."""
    if value == located.end.value:
        return located.application
    target = f"{located.application.entity}/{located.application.project}"
    _copy_files(located.places, target)
    value = _published(located.end, value, target)
    for place, key in zip(reversed(located.places[:-1]), reversed(located.keys), strict=True):
        container = place.value.copy()
        container[key] = value
        value = _published(place, container, target)
    return ObjectRef.parse_uri(value)


def _published(place: Place, value: Any, target: str) -> Any:
    """Publish the new value of a place, if a version of its own holds it.

    Args:
        place: The place with the value before.
        value: The new value.
        target: The application's project.

    Returns:
        What the place before has for the value: the new version's URI, or the value itself.
    """
    if place.ref is None:
        return value
    entity, project = target.split("/")
    value = _without_references_to_parts(value, target)
    return publish_json(entity, project, place.ref.name, value).uri


def _without_references_to_parts(value: Any, target: str) -> Any:
    """Replace references to parts of other versions by what they refer to.

    Otherwise the new version could have a reference for the name of its class, and queries by
    class would miss it.
    """
    if isinstance(value, list):
        return [_without_references_to_parts(item, target) for item in value]
    if isinstance(value, dict):
        whole = {key: _without_references_to_parts(item, target) for key, item in value.items()}
        # Weave stores the type as a dictionary where it stores the class's name as a reference.
        if isinstance(value.get("_type"), dict) and "_class_name" in whole:
            whole["_type"] = whole["_class_name"]
        return whole
    ref = object_reference(value)
    if ref is None or not ref.extra:
        return value
    found = follow(value, path="", project=target)
    _copy_files([found], target)
    # An object is referred to as a whole, also where the reference was to a part that held it.
    return found.ref.uri if found.ref else found.value


def _copy_files(places: Iterable[Place], target: str) -> None:
    """Copy the files of values into a project: a digest of a file is valid in one project only."""
    files = {
        digest: (name, place.project)
        for place in places
        if place.project != target
        for name, digest in _files(place.value)
    }
    for digest, (name, project) in files.items():
        copy_file(name, digest, source=project, target=target)


def _files(value: Any) -> list[tuple[str, str]]:
    """Return names and digests of the files that are a part of a stored value."""
    if custom_type(value):
        return list(value.get("files", {}).items())
    if isinstance(value, dict):
        value = list(value.values())
    return [file for part in value for file in _files(part)] if isinstance(value, list) else []
