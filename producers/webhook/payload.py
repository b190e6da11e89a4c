"""The body of a delivery: a template that the user wrote from W&B's variables.

Its keys are W&B's own names, flat as in W&B's examples, or nested under `client_payload` as GitHub
wants them (docs/upstream/wandb-webhooks.md, "Payload"). What else it holds is not read.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, StringConstraints, model_validator

from schemas.errors import ConfigurationError
from schemas.events import ModelVersionEvent
from schemas.refs import ArtifactRef

LINKED = "LINK_ARTIFACT"
ALIASED = "ADD_ARTIFACT_ALIAS"

_ID_SCHEME = "wandb-artifact://_id/"
_LONGEST = 512  # characters; an entity, a project, a collection and an alias have at most 128 each


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds a control character")
    return text


_Text = Annotated[str, StringConstraints(max_length=_LONGEST), AfterValidator(_printable)]


class Payload(BaseModel):
    """What a delivery says.

    Attributes:
        event_type: what happened.
        artifact_version_string: `entity/project/collection:version`.
        artifact_version: `wandb-artifact://_id/<id>`, or the version with the scheme
            `wandb-artifact:///`.
        alias: that was added; W&B fills it in for other events, too.
        event_author: who did it.
    """

    event_type: _Text
    artifact_version_string: _Text = ""
    artifact_version: _Text = ""
    alias: _Text | None = None
    event_author: _Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _unnested(cls, body: Any) -> Any:
        nested = body.get("client_payload") if isinstance(body, dict) else None
        return {**body, **nested} if isinstance(nested, dict) else body

    @property
    def matters(self) -> bool:
        """Whether it is about a version that may have to be weighed."""
        return self.event_type in (LINKED, ALIASED)

    def event(self) -> ModelVersionEvent:
        """The event that this payload tells of.

        Raises:
            ConfigurationError: it names no version, or not the alias that was added.
        """
        if self.event_type == ALIASED and not self.alias:
            raise ConfigurationError(
                "alias: it is missing.", fix='Add "alias": "${alias}" to the automation\'s body.'
            )
        if not (self.artifact_version_string or self.artifact_version):
            raise ConfigurationError(
                "artifact_version_string: it is missing.",
                fix='Add "artifact_version_string": "${artifact_version_string}" to the'
                " automation's body.",
            )
        return ModelVersionEvent(
            ref=ArtifactRef.parse(self.artifact_version_string or self.artifact_version),
            artifact_id=self._artifact_id,
            source="webhook",
            author=self.event_author,
            alias=self.alias if self.event_type == ALIASED else None,
        )

    @property
    def _artifact_id(self) -> str | None:
        scheme, found, artifact_id = self.artifact_version.rpartition(_ID_SCHEME)
        return artifact_id if found and artifact_id and not scheme else None
