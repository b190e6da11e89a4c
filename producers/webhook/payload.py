"""The body of a delivery: a template that the user wrote from W&B's variables.

Its keys are W&B's own names, flat as in W&B's examples, or nested under `client_payload` as GitHub
requires (docs/upstream/wandb-webhooks.md, "Payload"). Other keys are ignored.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, StringConstraints, model_validator

from schemas.errors import ConfigurationError
from schemas.events import ModelVersionEvent
from schemas.refs import ArtifactRef

LINKED = "LINK_ARTIFACT"
ALIASED = "ADD_ARTIFACT_ALIAS"

_ID_SCHEME = "wandb-artifact://_id/"
_MAX_LENGTH = 512  # characters; entity, project, collection and alias have at most 128 each


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds a control character")
    return text


_Text = Annotated[str, StringConstraints(max_length=_MAX_LENGTH), AfterValidator(_printable)]


class Payload(BaseModel):
    """The fields of a delivery.

    Attributes:
        event_type: W&B's name of the event.
        artifact_version_string: The version as ``entity/project/collection:version``.
        artifact_version: Either ``wandb-artifact://_id/<id>``, or the version with the scheme
            ``wandb-artifact:///``.
        alias: The alias that was added; W&B sets it for other events, too.
        event_author: The user who caused the event.
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
    def is_relevant(self) -> bool:
        """Whether the event may concern a version to weigh."""
        return self.event_type in (LINKED, ALIASED)

    def event(self) -> ModelVersionEvent:
        """Convert the payload to an event.

        Raises:
            ConfigurationError: The version or the added alias is missing.
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
