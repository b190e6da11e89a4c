"""References to things that live in W&B: collections, artifact versions and Weave objects.

In a model's field, ``ArtifactPath``, ``ArtifactUri``, ``CollectionPath`` and ``WeaveUri`` are
references that are stored as text, each in one notation. A plain ``ArtifactRef`` is stored as an
object.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator
from pydantic_core import PydanticKnownError

from schemas.errors import ConfigurationError

ARTIFACT_SCHEME = "wandb-artifact:///"
WEAVE_SCHEME = "weave:///"
REGISTRY_PREFIX = "wandb-registry-"

_ARTIFACT = re.compile(rf"(?:{ARTIFACT_SCHEME})?([^/:]+)/([^/:]+)/([^/:]+)(?::([^/:]+))?")
_NUMBERED = re.compile(r"v(\d+)")
_WEAVE_OBJECT = re.compile(rf"{WEAVE_SCHEME}([^/]+)/([^/]+)/object/([^/:]+):([^/:]+)")


class CollectionRef(BaseModel):
    """An artifact collection, printed as ``entity/project/collection``."""

    model_config = ConfigDict(frozen=True)

    entity: str
    project: str
    collection: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``entity/project/collection``.

        Raises:
            ConfigurationError: The text is not of that form, or it names a version.
        """
        ref = ArtifactRef.parse(text)
        if ref.version != "latest" or text.endswith(":latest"):
            raise ConfigurationError(f"'{text}' names a version; a collection is meant")
        return cls(entity=ref.entity, project=ref.project, collection=ref.collection)

    @property
    def collection_path(self) -> str:
        """``entity/project/collection``, without a version."""
        return f"{self.entity}/{self.project}/{self.collection}"

    def at(self, version: str) -> "ArtifactRef":
        """The version of this collection with a number (``v3``) or an alias."""
        return ArtifactRef(
            entity=self.entity, project=self.project, collection=self.collection, version=version
        )

    def __str__(self) -> str:
        return self.collection_path


class ArtifactRef(CollectionRef):
    """One version of an artifact collection, by number (``v3``) or by alias (``latest``).

    The printed form is ``entity/project/collection:version``; the URI form, which the tutorial
    stores in ``ChatModel.chat_model``, puts ``wandb-artifact:///`` before it.
    """

    version: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``[wandb-artifact:///]entity/project/collection[:version]``.

        Args:
            text: The reference; a missing version means ``latest``. Registry and collection names
                may contain spaces.

        Raises:
            ConfigurationError: The text is not of that form.
        """
        match = _ARTIFACT.fullmatch(text.strip())
        if match is None:
            raise ConfigurationError(
                f"'{text}' is not an artifact reference.",
                fix="Write it as entity/project/collection:version, for example"
                " 'my-org/wandb-registry-RAG Chat Models/Finetuned Llama-3.2:v3'.",
            )
        return cls(
            entity=match[1], project=match[2], collection=match[3], version=match[4] or "latest"
        )

    @property
    def uri(self) -> str:
        """The form with the ``wandb-artifact:///`` scheme."""
        return f"{ARTIFACT_SCHEME}{self}"

    @property
    def number(self) -> int | None:
        """The version number when the version is given as ``vN``, else None."""
        match = _NUMBERED.fullmatch(self.version)
        return int(match[1]) if match else None

    def __str__(self) -> str:
        return f"{self.collection_path}:{self.version}"


class WeaveRef(BaseModel):
    """A published Weave object version: ``weave:///entity/project/object/name:digest``.

    The digest may also be an alias such as ``latest``, or a version such as ``v3``.
    """

    model_config = ConfigDict(frozen=True)

    entity: str
    project: str
    name: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the URI form.

        Raises:
            ConfigurationError: The text is not a reference to a Weave object.
        """
        match = _WEAVE_OBJECT.fullmatch(text.strip())
        if match is None:
            raise ConfigurationError(
                f"'{text}' is not a reference to a Weave object.",
                fix="Copy it from the object's Use tab in Weave; it looks like"
                " weave:///entity/project/object/RagModel:latest.",
            )
        return cls(entity=match[1], project=match[2], name=match[3], digest=match[4])

    @property
    def uri(self) -> str:
        """The ``weave:///`` form."""
        return f"{WEAVE_SCHEME}{self.entity}/{self.project}/object/{self.name}:{self.digest}"

    @property
    def project_path(self) -> str:
        """``entity/project``, as ``weave.init`` takes it."""
        return f"{self.entity}/{self.project}"

    def __str__(self) -> str:
        return self.uri


_Ref = TypeVar("_Ref", CollectionRef, ArtifactRef, WeaveRef)


def _parsed_as(kind: type[_Ref]) -> Callable[[Any], _Ref]:
    """A validator that takes a reference, or its text."""

    def parsed(value: Any) -> _Ref:
        if type(value) is kind:
            return value
        if not isinstance(value, str):
            raise PydanticKnownError("string_type")
        return kind.parse(value)

    return parsed


CollectionPath = Annotated[
    CollectionRef,
    PlainValidator(_parsed_as(CollectionRef)),
    PlainSerializer(lambda ref: ref.collection_path, return_type=str),
]
"""A collection, stored as ``entity/project/collection``."""

ArtifactPath = Annotated[
    ArtifactRef,
    PlainValidator(_parsed_as(ArtifactRef)),
    PlainSerializer(lambda ref: str(ref), return_type=str),
]
"""An artifact version, stored as ``entity/project/collection:version``."""

ArtifactUri = Annotated[
    ArtifactRef,
    PlainValidator(_parsed_as(ArtifactRef)),
    PlainSerializer(lambda ref: ref.uri, return_type=str),
]
"""An artifact version, stored as ``wandb-artifact:///entity/project/collection:version``."""

WeaveUri = Annotated[
    WeaveRef,
    PlainValidator(_parsed_as(WeaveRef)),
    PlainSerializer(lambda ref: ref.uri, return_type=str),
]
"""A Weave object version, stored as ``weave:///entity/project/object/name:digest``."""
