"""The ledger's records."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.verdicts import Decision, Step, Verdict

State = Literal["queued", "running", "awaiting approval", "promoted", "rejected", "failed"]


class Progress(BaseModel):
    """Progress of a running weighing: the step, and the part of it that is done.

    Attributes:
        detail: The current action, in words; empty when the name of the step says it.
        done: Units finished, out of ``total``; both 0 where the step has no units.
        metrics: The metrics so far, as running means.
    """

    model_config = ConfigDict(frozen=True)

    step: Step
    detail: str = ""
    done: int = 0
    total: int = 0
    metrics: dict[str, float] = {}


class WeighingRecord(BaseModel):
    """One weighing in the ledger.

    Attributes:
        gate: The gate as of the weighing's opening.
        event: The event that opened it; later events about the same version were absorbed.
        attempts: Number of claims by workers; starts from 0 again when an operator decides about
            it or retries it.
        holder: The worker that holds the lease; empty when none does.
        reason: Why it ended this way, or why the last attempt failed.
        queued_at: When the first of these attempts became possible.
        started_at: When the last of them began.
        lease_until: When the lease expires unless renewed.
        next_try_at: When it is retried, if the last attempt failed.
        verdict: None until it has ended or awaits approval; while a decision is applied, the
            verdict that awaited approval.
        decision: The operator's decision about the verdict that awaited approval.
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
        """Whether it has ended or awaits approval, so that no worker has anything left to do."""
        return self.state not in ("queued", "running")


class AuditLine(BaseModel):
    """One line of the audit stream: a transition of a weighing, or a note.

    Attributes:
        stream_id: Redis's id of the line.
        id: Id of the weighing, or the subject of the note.
        state: The new state, or the event that the note records.
        note: The reason, or who caused it.
    """

    model_config = ConfigDict(frozen=True)

    stream_id: str
    at: datetime
    id: str
    state: str
    note: str
