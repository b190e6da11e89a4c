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
        metrics: what was measured so far, as running means.
    """

    model_config = ConfigDict(frozen=True)

    step: Step
    detail: str = ""
    done: int = 0
    total: int = 0
    metrics: dict[str, float] = {}


class WeighingRecord(BaseModel):
    """One record of the ledger.

    Attributes:
        gate: the gate as it was when the weighing was opened.
        event: the event that opened it; others about the same version were absorbed.
        attempts: how often a worker has claimed it; counted anew once a person has decided, or has
            it tried again.
        holder: the worker that runs it; empty when none does.
        reason: why it came out as it did, or why the last attempt broke off.
        queued_at: when the first of these attempts became possible.
        started_at: when the last of them began.
        lease_until: when the worker that runs it is taken for lost, unless it is heard of before.
        next_try_at: when it is tried again, if the last attempt broke off.
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
    holder: str = ""
    reason: str = ""
    opened_at: datetime
    queued_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    lease_until: datetime | None = None
    next_try_at: datetime | None = None
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


class AuditLine(BaseModel):
    """One line of the audit stream: a transition of a weighing, or a note.

    Attributes:
        stream_id: Redis's own id of the line.
        id: of the weighing, or what the note is about.
        state: that it is in from now on, or what happened.
        note: why, or by whom.
    """

    model_config = ConfigDict(frozen=True)

    stream_id: str
    at: datetime
    id: str
    state: str
    note: str
