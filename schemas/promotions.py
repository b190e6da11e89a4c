"""The metadata of a promoted version: why it is in the target collection."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.refs import ArtifactPath, ArtifactUri, WeaveUri
from schemas.verdicts import Check
from schemas.weighings import WeighingRecord


class PromotionRecord(BaseModel):
    """Why a version is in the target collection. W&B keeps it as the artifact's metadata.

    Attributes:
        gate: Name of the gate that promoted it.
        gate_digest: Digest of the gate at that time.
        chat_model: The weighed version.
        url: Page of the RagModel version in Weave.
        evaluation: Ref of the evaluation, by digest.
        dataset: Ref of its dataset, by digest.
        weave_call: Id of the evaluation call.
        run: Path of the W&B run.
        champion: The version in the target collection that held the gate's alias before; None if
            none did.
        checks: The verdict's checks, with their intervals.
        versions: Versions of the worker's packages, by name.
        approved_by: Who approved it, where the gate requires approval.
        promoted_at: Time of the promotion.
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
        """Read the record from an artifact's metadata; None if there is none."""
        try:
            return cls.model_validate(metadata)
        except ValidationError:
            return None

    def belongs_to(self, record: WeighingRecord) -> bool:
        """Whether an attempt at this weighing promoted it, after the weighing was opened."""
        return self.promoted_at >= record.opened_at and (
            self.gate,
            self.gate_digest,
            self.chat_model,
        ) == (record.gate.name, record.gate.digest, record.id.version)
