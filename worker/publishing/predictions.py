"""An evaluation's rows as people read them: question, expected answer and the model's answer.

The columns are those of W&B's own example of a predictions table
(docs.wandb.ai, "Log predictions and compare models in Tables").
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from schemas.gates import Gate
from schemas.rows import Row

# Common names of these dataset columns, the most common one first.
_INPUT = ("question", "input", "prompt", "query")
_TRUTH = ("answer", "ground_truth", "expected", "target")
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
        topic: The dataset column of that name; empty if there is none.
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
    """Read the predictions from an evaluation's rows, sorted by id."""
    metric = gate.thresholds[0].metric.rpartition(".")[0]
    return sorted((_prediction(row, metric) for row in rows), key=lambda one: one.id)


def flips(candidate: Sequence[Prediction], champion: Sequence[Prediction]) -> list[Flip]:
    """Return the rows that exactly one of the two got right, in the candidate's order."""
    by_id = {one.id: one for one in champion}
    pairs = ((one, by_id[one.id]) for one in candidate if one.id in by_id)
    return [
        Flip(candidate=ours, champion=theirs)
        for ours, theirs in pairs
        if ours.correct != theirs.correct
    ]


def _prediction(row: Row, metric: str) -> Prediction:
    score = row.scores.get(metric)
    answer = _answer(row.output)
    correct = score is not None and score >= _CORRECT_FROM
    return Prediction(
        id=str(row.columns.get("id", row.digest)),
        input=_first(row.columns, _INPUT) or _as_text(row.columns),
        ground_truth=_first(row.columns, _TRUTH),
        prediction=answer,
        correct=correct,
        score=None if score is None else float(score),
        confidence=_confidence(row.output),
        error_type="" if correct else _error_type(row, answer),
        topic=str(row.columns.get("topic", "")),
        context=_context(row.output),
    )


def _error_type(row: Row, answer: str) -> str:
    if not answer:
        return "no answer"
    return "retrieval" if row.scores.get(_RETRIEVAL, 1.0) < 1 else "answer"


def _answer(output: Any) -> str:
    if isinstance(output, Mapping):
        return str(output["answer"]) if "answer" in output else _as_text(output)
    return str(output)


def _confidence(output: Any) -> float | None:
    value = output.get("confidence") if isinstance(output, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _context(output: Any) -> tuple[str, ...]:
    passages = output.get("context") if isinstance(output, Mapping) else None
    return tuple(
        str(one["text"] if isinstance(one, Mapping) and "text" in one else one)
        for one in passages or ()
    )


def _first(columns: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((str(columns[name]) for name in names if name in columns), "")


def _as_text(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
