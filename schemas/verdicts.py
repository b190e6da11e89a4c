"""What a weighing ends with: a verdict, its checks and the evidence they stand on."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat

from schemas.events import Source, WeighingId
from schemas.gates import Threshold

Outcome = Literal["promoted", "rejected", "failed"]
Step = Literal["download", "rebuild", "evaluate", "weigh", "promote"]


class Check(BaseModel):
    """One metric against one threshold.

    Attributes:
        value: what was measured; None when the metric is missing or not a finite number.
        threshold: the bound, in the gate file's own words.
        passed: whether the value is within the bound; a missing value never passes.
    """

    model_config = ConfigDict(frozen=True)

    threshold: Threshold
    value: FiniteFloat | None
    passed: bool

    @property
    def metric(self) -> str:
        """Dotted path into the evaluation's summary."""
        return self.threshold.metric


class Evidence(BaseModel):
    """What the checks stand on, as read back from the server.

    Attributes:
        weave_call: id of the evaluation's root call.
        weave_url: page of that call.
        run_url: page of the W&B run.
        rag_model: ref of the RagModel version that was weighed.
        evaluation: ref of the evaluation it was weighed with.
        rows: number of rows read back, each with every score.
    """

    model_config = ConfigDict(frozen=True)

    weave_call: str
    weave_url: str
    run_url: str
    rag_model: str
    evaluation: str
    rows: int


class Timings(BaseModel):
    """Where the time went: seconds of wall clock per step; 0 for a step that did not run."""

    download: float = 0.0
    rebuild: float = 0.0
    evaluate: float = 0.0
    weigh: float = 0.0
    promote: float = 0.0


class Verdict(BaseModel):
    """The end of a weighing.

    Attributes:
        outcome: `promoted`, `rejected` (a threshold failed) or `failed` (no verdict was reached).
        reason: one sentence that says why.
        evidence: None when the weighing failed before the evaluation ended.
        promoted_ref: the version in the target collection, when promoted.
    """

    model_config = ConfigDict(frozen=True)

    weighing: WeighingId
    source: Source
    outcome: Outcome
    reason: str
    checks: tuple[Check, ...] = ()
    evidence: Evidence | None = None
    promoted_ref: str | None = None
    seconds: Timings = Timings()
