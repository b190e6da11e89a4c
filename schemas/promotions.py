"""What a promoted version says of itself: the metadata of its artifact in the Registry."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.refs import ArtifactPath, ArtifactUri, WeaveUri
from schemas.verdicts import Check
from schemas.weighings import WeighingRecord


class PromotionRecord(BaseModel):
    """Why a version is in the target collection. W&B keeps it as the artifact's metadata.

    Attributes:
        gate: name of the gate that promoted it.
        gate_digest: of the gate as it was then.
        chat_model: the weighed version, `wandb-artifact:///...`.
        url: page of the RagModel version in Weave.
        evaluation: ref of the evaluation, by digest.
        dataset: ref of its dataset, by digest.
        weave_call: id of the evaluation call.
        run: path of the W&B run.
        champion: the version in the target collection that held the gate's alias before; None if
            nobody did.
        checks: as in the verdict, with their intervals.
        versions: of the packages that weighed, by name.
        approved_by: who approved it, where the gate requires that.
        promoted_at: when.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    gate: str
    gate_digest: str
    chat_model: ArtifactUri
    url: str
    evaluation: WeaveUri
    dataset: WeaveUri
    weave_call: str
    run: str
    champion: ArtifactPath | None
    checks: tuple[Check, ...]
    versions: dict[str, str]
    approved_by: str | None = None
    promoted_at: datetime

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> Self | None:
        """The record in an artifact's metadata; None if no gate wrote one there."""
        try:
            return cls.model_validate(metadata)
        except ValidationError:
            return None

    def belongs_to(self, weighing: WeighingRecord) -> bool:
        """Whether an attempt at this weighing wrote it; one from before it was opened did not."""
        return self.promoted_at >= weighing.opened_at and (
            self.gate,
            self.gate_digest,
            self.chat_model,
        ) == (weighing.gate.name, weighing.gate.digest, weighing.id.version)
