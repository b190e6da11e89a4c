"""Weave's evaluation as a weighing runs it: it tells of each row, and may stop between batches."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import weave
from pydantic import PrivateAttr
from weave.evaluation.eval import EvaluationResults
from weave.trace.ref_util import get_ref, set_ref
from weave.trace.refs import ObjectRef
from weave.trace.table import Table

from schemas.errors import InternalError
from schemas.rows import LATENCY, Row, flat_scores

_Kind = TypeVar("_Kind", bound=weave.Evaluation)

IsDecided = Callable[[Sequence[Row]], bool]
"""Gets all rows that were answered so far; says whether no more are needed."""

OnRow = Callable[[Mapping[str, float]], None]
"""Gets the scores of a row, by dotted path, as soon as it has them."""


def with_row_callback(evaluation: weave.Evaluation, on_row: OnRow) -> weave.Evaluation:
    """The same published evaluation, which tells of each row.

    Args:
        evaluation: a published one; its calls name that version.
    """
    made = _copy(_ReportingEvaluation, evaluation)
    made._on_row = on_row
    return made


def in_batches(evaluation: weave.Evaluation, batch: int, is_decided: IsDecided) -> weave.Evaluation:
    """The same published evaluation, asked in batches.

    The order is random and the same each time the evaluation runs. Its seed is the evaluation's
    digest: that is fixed before any version answers, so the order knows nothing of the scores,
    which is all that a confidence sequence asks of it.

    Args:
        evaluation: a published one; its calls name that version.
        batch: dataset rows in a batch, each with all its trials.
        is_decided: asked after each batch.
    """
    made = _copy(_InBatches, evaluation)
    made._batch, made._is_decided, made._seed = batch, is_decided, _ref(evaluation).digest
    made._on_row = evaluation._on_row if isinstance(evaluation, _ReportingEvaluation) else _nobody
    return made


def _ref(evaluation: weave.Evaluation) -> ObjectRef:
    ref = get_ref(evaluation)
    if ref is None:
        raise InternalError("An evaluation is run as our own before it was published.")
    return ref


def _copy(kind: type[_Kind], evaluation: weave.Evaluation) -> _Kind:
    """The evaluation as one of our kind, under the same reference."""
    made = kind(**{name: getattr(evaluation, name) for name in weave.Evaluation.model_fields})
    set_ref(made, _ref(evaluation))
    return made


def _nobody(_scores: Mapping[str, float]) -> None:
    """Hears nothing."""


class _ReportingEvaluation(weave.Evaluation):
    """Weave's own evaluation, row by row."""

    _on_row: OnRow = PrivateAttr()

    # No op of its own, so that the call which is recorded is Weave's.
    async def predict_and_score(  # type: ignore[override]
        self, model: Any, example: Any
    ) -> Any:
        result = await weave.Evaluation.predict_and_score(self, model, example)
        self._on_row(_scores(result))
        return result


class _InBatches(_ReportingEvaluation):
    """Weave's own evaluation, batch by batch (weave 0.54, `Evaluation.get_eval_results`)."""

    _batch: int = PrivateAttr()
    _is_decided: IsDecided = PrivateAttr()
    _seed: str = PrivateAttr()

    async def get_eval_results(self, model: Any) -> EvaluationResults:
        rows = list(self.dataset.rows)
        random.Random(self._seed).shuffle(rows)  # noqa: S311 (no secret)
        results: list[dict[str, Any]] = []
        answered: list[Row] = []
        for start in range(0, len(rows), self._batch):
            asked = rows[start : start + self._batch]
            part = self.model_copy(update={"dataset": SimpleNamespace(rows=asked)})
            evaluated = await weave.Evaluation.get_eval_results(part, model)
            results += evaluated.rows
            answered += map(_row, asked * self.trials, evaluated.rows)
            if self._is_decided(answered):
                break
        return EvaluationResults(rows=Table(results))


def _row(example: Any, result: dict[str, Any]) -> Row:
    """The row as it will be read back, but for its call and its output."""
    return Row(
        call="",
        digest=example.ref.extra[-1],
        columns=dict(example),
        output=None,
        # What is not finite is null on the trace server.
        scores={name: score for name, score in _scores(result).items() if math.isfinite(score)},
    )


def _scores(result: Mapping[str, Any]) -> dict[str, bool | float]:
    return flat_scores({LATENCY: result.get(LATENCY), **result["scores"]})
