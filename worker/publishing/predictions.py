"""An evaluation's rows as people read them: question, expected answer and the model's answer.

The columns are those of W&B's own example of a predictions table
(docs.wandb.ai, "Log predictions and compare models in Tables").
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from schemas.gates import Gate
from schemas.rows import Row
from worker.publishing.columns import Paths, paths_for, values_at
from worker.publishing.stored_values import as_passages, as_text
from worker.verdict.row_metrics import STATISTICS

_CORRECT_FROM = 0.5  # a score at or above this counts as correct
_RETRIEVAL = "context_recall"


class Prediction(BaseModel):
    """One row of an evaluation.

    Attributes:
        id: The dataset's own id, or else the row's digest.
        input: The question.
        ground_truth: The expected answer.
        prediction: The model's answer.
        correct: Whether the score is true, or at least 0.5.
        score: The row's score behind the gate's first threshold; None if it has none.
        confidence: The model's own confidence, 0 to 1, if its output has one.
        error_type: ``no answer``, ``retrieval`` (a passage with the answer was not found) or
            ``answer``; empty if the prediction is correct.
        topic: The topic; empty if the row has none.
        context: The retrieved passages, if the output has them.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    input: str
    ground_truth: str
    prediction: str
    correct: bool
    score: float | None
    confidence: float | None
    error_type: str
    topic: str
    context: tuple[str, ...] = ()


class Flip(BaseModel):
    """A row that exactly one of version and champion got right."""

    model_config = ConfigDict(frozen=True)

    candidate: Prediction
    champion: Prediction

    @property
    def gained(self) -> bool:
        """Whether the version got it right."""
        return self.candidate.correct


def read_predictions(rows: Sequence[Row], gate: Gate) -> list[Prediction]:
    """Read the predictions from an evaluation's rows, sorted by id.

    Args:
        gate: Its ``columns`` name where a question, an answer and a topic are found.
    """
    metric = _score_behind(gate.thresholds[0].metric, rows)
    paths = paths_for(gate.columns, rows)
    return sorted((_prediction(row, metric, paths) for row in rows), key=lambda one: one.id)


def flips(candidate: Sequence[Prediction], champion: Sequence[Prediction]) -> list[Flip]:
    """Return the rows that exactly one of the two got right, in the candidate's order."""
    by_id = {one.id: one for one in champion}
    pairs = ((one, by_id[one.id]) for one in candidate if one.id in by_id)
    return [
        Flip(candidate=ours, champion=theirs)
        for ours, theirs in pairs
        if ours.correct != theirs.correct
    ]


def _score_behind(metric: str, rows: Sequence[Row]) -> str:
    """The name of a metric's score in the rows.

    A scorer with a ``summarize`` of its own may name its metrics as it likes. Its score is then its
    only part, or its only part that is a yes or no.
    """
    name, _, statistic = metric.rpartition(".")
    scores = {score: value for row in rows for score, value in row.scores.items()}
    if name in scores or statistic in STATISTICS:
        return name
    scorer = metric.partition(".")[0]
    parts = [score for score in scores if score.startswith(f"{scorer}.")]
    yes_or_no = [part for part in parts if isinstance(scores[part], bool)]
    return next((names[0] for names in (yes_or_no, parts) if len(names) == 1), name)


def _prediction(row: Row, metric: str, paths: Paths) -> Prediction:
    score = row.scores.get(metric)
    answer = _text(row.output, paths.answer, absent=row.output)
    correct = score is not None and score >= _CORRECT_FROM
    return Prediction(
        id=str(row.columns.get("id", row.digest)),
        input=_text(row.columns, paths.input) or as_text(row.columns),
        ground_truth=_text(row.columns, paths.truth),
        prediction=answer,
        correct=correct,
        score=None if score is None else float(score),
        confidence=_confidence(row.output),
        error_type="" if correct else _error_type(row, answer),
        topic=_text(row.columns, paths.topic),
        context=tuple(as_passages(_value(row.output, paths.context))),
    )


def _error_type(row: Row, answer: str) -> str:
    if not answer:
        return "no answer"
    return "retrieval" if row.scores.get(_RETRIEVAL, 1.0) < 1 else "answer"


def _confidence(output: Any) -> float | None:
    value = output.get("confidence") if isinstance(output, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _text(value: Any, paths: Iterable[str], absent: Any = None) -> str:
    return as_text(_value(value, paths, absent))


def _value(value: Any, paths: Iterable[str], absent: Any = None) -> Any:
    """The first value at the paths that is not null; ``absent`` if no path leads anywhere."""
    found = values_at(value, paths)
    return next((one for one in found if one is not None), None) if found else absent
