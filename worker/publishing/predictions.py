"""An evaluation's rows as people read them: what was asked, what was expected, what was answered.

The columns are those of W&B's own example of a predictions table
(docs.wandb.ai, "Log predictions and compare models in Tables").
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from schemas.gates import Gate
from schemas.rows import Row

# Names that datasets give to these columns, the usual one first.
_INPUT = ("question", "input", "prompt", "query")
_TRUTH = ("answer", "ground_truth", "expected", "target")
_ENOUGH = 0.5  # of a score that is no yes or no
_RETRIEVAL = "context_recall"


class Prediction(BaseModel):
    """One row of an evaluation.

    Attributes:
        id: the dataset's own id, else the row's digest.
        input: what was asked.
        ground_truth: what was expected.
        prediction: what the model answered.
        correct: whether the gate's first score of the row is a yes, or 0.5 at least.
        score: that score.
        confidence: the model's own, 0 to 1, if its output has one.
        error_type: `no answer`, `retrieval` (a passage that holds the answer was not found) or
            `answer`; empty when it is correct.
        topic: the dataset's column of that name; empty if it has none.
        context: the passages that the model was given, if its output has them.
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
    """A row on which version and champion do not agree.

    Attributes:
        gained: whether the version is right where the champion was wrong, or the other way round.
    """

    model_config = ConfigDict(frozen=True)

    candidate: Prediction
    champion: Prediction

    @property
    def gained(self) -> bool:
        """Whether it is the version that is right."""
        return self.candidate.correct


def predictions(rows: Sequence[Row], gate: Gate) -> list[Prediction]:
    """The rows as people read them, in the order of their ids."""
    metric = gate.thresholds[0].metric.rpartition(".")[0]
    return sorted((_prediction(row, metric) for row in rows), key=lambda one: one.id)


def flips(candidate: Sequence[Prediction], champion: Sequence[Prediction]) -> list[Flip]:
    """The rows that one got right and the other did not, in the order of their ids."""
    before = {one.id: one for one in champion}
    pairs = ((one, before[one.id]) for one in candidate if one.id in before)
    return [Flip(candidate=one, champion=was) for one, was in pairs if one.correct != was.correct]


def _prediction(row: Row, metric: str) -> Prediction:
    score = row.scores.get(metric)
    said = _answer(row.output)
    correct = score is not None and score >= _ENOUGH
    return Prediction(
        id=str(row.columns.get("id", row.digest)),
        input=_first(row.columns, _INPUT) or _as_text(row.columns),
        ground_truth=_first(row.columns, _TRUTH),
        prediction=said,
        correct=correct,
        score=None if score is None else float(score),
        confidence=_confidence(row.output),
        error_type="" if correct else _error_type(row, said),
        topic=str(row.columns.get("topic", "")),
        context=_context(row.output),
    )


def _error_type(row: Row, said: str) -> str:
    if not said:
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
