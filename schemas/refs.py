"""References to things that live in W&B: artifact versions and Weave objects."""

import re
from typing import Self

from pydantic import BaseModel, ConfigDict

from schemas.errors import ConfigurationError

ARTIFACT_SCHEME = "wandb-artifact:///"
WEAVE_SCHEME = "weave:///"
REGISTRY_PREFIX = "wandb-registry-"

_ARTIFACT = re.compile(rf"(?:{ARTIFACT_SCHEME})?([^/:]+)/([^/:]+)/([^/:]+)(?::([^/:]+))?")
_NUMBERED = re.compile(r"v(\d+)")
_WEAVE_OBJECT = re.compile(rf"{WEAVE_SCHEME}([^/]+)/([^/]+)/object/([^/:]+):([^/:]+)")


class ArtifactRef(BaseModel):
    """One version of an artifact collection, by number (`v3`) or by alias (`latest`).

    The printed form is `entity/project/collection:version`; the URI form, which the tutorial
    stores in `ChatModel.chat_model`, puts `wandb-artifact:///` before it.
    """

    model_config = ConfigDict(frozen=True)

    entity: str
    project: str
    collection: str
    version: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `[wandb-artifact:///]entity/project/collection[:version]`.

        Args:
            text: the reference; a missing version means `latest`. Registry and collection names
                may contain spaces.

        Raises:
            ConfigurationError: the text is not of that form.
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
    def collection_path(self) -> str:
        """`entity/project/collection`, without the version."""
        return f"{self.entity}/{self.project}/{self.collection}"

    @property
    def uri(self) -> str:
        """The form with the `wandb-artifact:///` scheme."""
        return f"{ARTIFACT_SCHEME}{self}"

    @property
    def number(self) -> int | None:
        """The version number when the version is given as `vN`, else None."""
        match = _NUMBERED.fullmatch(self.version)
        return int(match[1]) if match else None

    def __str__(self) -> str:
        return f"{self.collection_path}:{self.version}"


class WeaveRef(BaseModel):
    """A published Weave object version: `weave:///entity/project/object/name:digest`.

    The digest may also be an alias such as `latest`, or a version such as `v3`.
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
            ConfigurationError: the text is not a reference to a Weave object.
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
        """The `weave:///` form."""
        return f"{WEAVE_SCHEME}{self.entity}/{self.project}/object/{self.name}:{self.digest}"

    @property
    def project_path(self) -> str:
        """`entity/project`, as `weave.init` takes it."""
        return f"{self.entity}/{self.project}"

    def __str__(self) -> str:
        return self.uri
