"""What a weighing ends with: a verdict, its checks and the evidence they stand on."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat

from schemas.events import Source, WeighingId
from schemas.refs import ArtifactPath, WeaveUri
from schemas.thresholds import Threshold

Outcome = Literal["promoted", "rejected", "failed", "awaiting approval"]
Step = Literal["download", "rebuild", "evaluate", "weigh", "promote"]


class Comparison(BaseModel):
    """A metric beside the champion's, row by row.

    Attributes:
        champion: the champion's value on the same rows.
        difference: the version's value less the champion's.
        interval: its two-sided interval, lower end first.
        confidence: of the interval.
        method: how the interval was made, in words.
        p_value: two-sided, of the exact McNemar test; None unless the metric is yes or no.
        detectable: smallest difference that this many rows could have shown with a power of 80 %.
        rows: dataset rows that were compared.
        clusters: independent groups of rows; None where each row is one.
    """

    model_config = ConfigDict(frozen=True)

    champion: FiniteFloat
    difference: FiniteFloat
    interval: tuple[FiniteFloat, FiniteFloat]
    confidence: float
    method: str
    p_value: FiniteFloat | None = None
    detectable: FiniteFloat
    rows: int
    clusters: int | None = None


class Check(BaseModel):
    """One metric against one threshold.

    Attributes:
        threshold: the bound, in the gate file's own words.
        value: what was measured; None when the metric is missing or not a finite number.
        passed: whether the threshold holds; a missing value never passes.
        comparison: with the champion; None for other thresholds, and where there is no champion.
        note: what a reader must know beside the numbers; a reason, where no verdict is possible.
        decidable: whether the rows suffice for a verdict, by `min_rows` and `detectable`.
    """

    model_config = ConfigDict(frozen=True)

    threshold: Threshold
    value: FiniteFloat | None
    passed: bool
    comparison: Comparison | None = None
    note: str = ""
    decidable: bool = True

    @property
    def metric(self) -> str:
        """Dotted path into the evaluation's summary."""
        return self.threshold.metric


class ChampionEvidence(BaseModel):
    """What a version was compared with.

    Attributes:
        version: the champion's version in the target collection.
        rag_model: ref of its RagModel version, by digest.
        weave_call: id of the evaluation call that its rows come from.
        evaluated_again: whether that call was made for comparisons, because the champion was
            promoted by another evaluation or other data.
    """

    model_config = ConfigDict(frozen=True)

    version: ArtifactPath
    rag_model: WeaveUri
    weave_call: str
    evaluated_again: bool


class Evidence(BaseModel):
    """What the checks stand on, as read back from the server.

    Attributes:
        weave_call: id of the evaluation's root call.
        weave_url: page of that call.
        run_url: page of the W&B run.
        rag_model: ref of the RagModel version that was weighed.
        evaluation: ref of the evaluation it was weighed with, by digest.
        dataset: ref of the evaluation's dataset, by digest.
        rows: number of rows read back, each with every score.
        of_rows: number of rows that the evaluation has; more than `rows` after an early stop.
        champion: None when no threshold asks for one, or when there is none yet.
    """

    model_config = ConfigDict(frozen=True)

    weave_call: str
    weave_url: str
    run_url: str
    rag_model: WeaveUri
    evaluation: WeaveUri
    dataset: WeaveUri
    rows: int
    of_rows: int
    champion: ChampionEvidence | None = None


class Decision(BaseModel):
    """What a person decided about a version that awaited approval.

    Attributes:
        by: who, as W&B knows them.
        why: in their words; may be empty for an approval.
    """

    model_config = ConfigDict(frozen=True)

    approved: bool
    by: str
    why: str = ""
    at: datetime

    def __str__(self) -> str:
        what = "approved" if self.approved else "rejected"
        return f"{what} by {self.by}: {self.why}".removesuffix(": ")


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
        outcome: `promoted`, `rejected` (a threshold failed, or a person said no), `failed` (no
            verdict was reached) or `awaiting approval` (every threshold holds, a person decides).
        reason: one sentence that says why.
        gate_digest: of the gate that weighed.
        evidence: None when the weighing failed before the evaluation ended.
        promoted_ref: the version in the target collection, when promoted.
        decision: of a person, where the gate requires one.
        report: path of the report on the worker that wrote it.
    """

    model_config = ConfigDict(frozen=True)

    weighing: WeighingId
    source: Source
    outcome: Outcome
    reason: str
    gate_digest: str = ""
    checks: tuple[Check, ...] = ()
    evidence: Evidence | None = None
    promoted_ref: str | None = None
    decision: Decision | None = None
    report: str | None = None
    seconds: Timings = Timings()
