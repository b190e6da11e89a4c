"""The verdict of a weighing, its checks and their evidence."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from schemas.applications import is_absent
from schemas.events import Source, WeighingId
from schemas.refs import ArtifactPath, WeaveUri
from schemas.thresholds import Threshold

Outcome = Literal["promoted", "rejected", "failed", "awaiting approval"]
Step = Literal["download", "rebuild", "evaluate", "weigh", "promote"]


class Comparison(BaseModel):
    """A metric compared with the champion's, row by row.

    Attributes:
        champion: The champion's value on the same rows.
        difference: The version's value minus the champion's.
        interval: Two-sided interval of the difference, lower end first.
        confidence: Confidence of the interval.
        method: Method of the interval, in words.
        p_value: Two-sided p-value of McNemar's exact test; None unless the metric is yes or no.
        detectable: Smallest difference that these rows could have shown with a power of 80 %.
        rows: Number of dataset rows that were compared.
        clusters: Number of independent groups of rows; None where each row is one.
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
        threshold: The threshold, as in the gate file.
        value: The metric's value; None when it is missing or not a finite number.
        passed: Whether the threshold holds; a missing value never passes.
        comparison: Comparison with the champion; None for other thresholds, and where there is no
            champion.
        note: Remark for the reader; the reason, where no verdict is possible.
        decidable: Whether the rows suffice for a verdict, by ``min_rows`` and ``detectable``.
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
    """The champion that a version was compared with.

    Attributes:
        version: The champion's version in the target collection.
        rag_model: Ref of its RagModel version, by digest.
        weave_call: Id of the evaluation call that its rows come from.
        evaluated_again: Whether that call was made for comparisons, because the champion was
            promoted by another evaluation or other data.
    """

    model_config = ConfigDict(frozen=True)

    version: ArtifactPath
    rag_model: WeaveUri
    weave_call: str
    evaluated_again: bool


class Evidence(BaseModel):
    """The evidence of the checks, as read back from the server.

    Attributes:
        weave_call: Id of the evaluation's root call.
        weave_url: Page of that call.
        run_url: Page of the W&B run.
        rag_model: Ref of the RagModel version that was evaluated.
        evaluation: Ref of the evaluation, by digest.
        dataset: Ref of the evaluation's dataset, by digest.
        rows: Number of rows read back, each with every score.
        of_rows: Number of rows in the full evaluation; more than ``rows`` after an early stop.
        champion: None when no threshold is relative, or when there is no champion yet.
        environment: Digest of the versions of the packages that ran it, of a team's application;
            the versions are in the run's config. None if the worker itself ran it.
        measured: Metrics that the gateway has measured, by name; None where there was none.
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
    environment: str | None = Field(default=None, exclude_if=is_absent)
    measured: dict[str, dict[str, Any]] | None = Field(default=None, exclude_if=is_absent)


class Decision(BaseModel):
    """An operator's decision about a version that awaited approval.

    Attributes:
        by: The operator's name in W&B.
        why: The reason; may be empty for an approval.
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
    """Wall-clock seconds of each step; 0 for a step that did not run."""

    download: float = 0.0
    rebuild: float = 0.0
    evaluate: float = 0.0
    weigh: float = 0.0
    promote: float = 0.0


class Verdict(BaseModel):
    """The result of a weighing.

    Attributes:
        outcome: ``promoted``, ``rejected`` (by a threshold or an operator), ``failed`` (no verdict
            was reached) or ``awaiting approval`` (every threshold holds, an operator decides).
        reason: One sentence that explains the outcome.
        gate_digest: Digest of the gate.
        evidence: None when the weighing failed before the evaluation ended.
        promoted_ref: The version in the target collection, when promoted.
        decision: The operator's decision, where the gate requires one.
        report: Path of the report on the worker that wrote it.
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
