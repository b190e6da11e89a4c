"""What the ledger knows of one weighing."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.verdicts import Decision, Step, Verdict

State = Literal["queued", "running", "awaiting approval", "promoted", "rejected", "failed"]


class Progress(BaseModel):
    """Where a running weighing stands: the step, and the part of it that is done.

    Attributes:
        detail: what the step is doing, in words; empty when its name says it.
        done: units finished, out of `total`; both 0 where the step has no units.
    """

    model_config = ConfigDict(frozen=True)

    step: Step
    detail: str = ""
    done: int = 0
    total: int = 0


class Weighing(BaseModel):
    """One record of the ledger.

    Attributes:
        gate: the gate as it was when the weighing was opened.
        event: the event that opened it; others about the same version were absorbed.
        attempts: how often a worker has claimed it; counted anew once a person has decided.
        verdict: None until it has ended or awaits approval; while a decision is carried out, still
            the one that awaited approval.
        decision: of a person, about the verdict that awaited approval.
    """

    model_config = ConfigDict(frozen=True)

    id: WeighingId
    gate: Gate
    event: ModelVersionEvent
    state: State
    attempts: int = 0
    opened_at: datetime
    progress: Progress | None = None
    verdict: Verdict | None = None
    decision: Decision | None = None

    @property
    def ended(self) -> bool:
        """Whether the verdict is final."""
        return self.settled and self.state != "awaiting approval"

    @property
    def settled(self) -> bool:
        """Whether no worker has anything left to do: it has ended, or a person must decide."""
        return self.state not in ("queued", "running")
