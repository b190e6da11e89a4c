"""Weave's evaluation with additions: it reports its progress, and it can stop early."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
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
"""Receives all rows that have been evaluated so far; returns whether no more are needed."""

OnRow = Callable[[Mapping[str, float]], None]
"""Receives the scores of a row, by dotted path, as soon as they are known."""


@dataclass(frozen=True)
class Callbacks:
    """What an evaluation calls while it runs.

    Attributes:
        on_start: Receives the id of the evaluation's root call before the first row.
        on_row: Receives the scores of each row.
        is_stopped: Asked before each row. Once it returns true, no further row begins, and the
            evaluation ends normally with the rows that have begun.
    """

    on_start: Callable[[str], None] = lambda _call: None
    on_row: OnRow = lambda _scores: None
    is_stopped: Callable[[], bool] = lambda: False


def with_callbacks(evaluation: weave.Evaluation, callbacks: Callbacks) -> weave.Evaluation:
    """Return the same published evaluation, with callbacks.

    Args:
        evaluation: A published evaluation; the calls name that version.
        callbacks: What it calls.
    """
    reporting = _copy(_ReportingEvaluation, evaluation)
    reporting._callbacks = callbacks
    return reporting


def with_row_callback(evaluation: weave.Evaluation, on_row: OnRow) -> weave.Evaluation:
    """Return the same published evaluation, with a callback for each row.

    Args:
        evaluation: A published evaluation; the calls name that version.
        on_row: Receives the scores of each row.
    """
    return with_callbacks(evaluation, Callbacks(on_row=on_row))


def in_batches(evaluation: weave.Evaluation, batch: int, is_decided: IsDecided) -> weave.Evaluation:
    """Return the same published evaluation, run in batches.

    The row order is random, and the same each time the evaluation runs. Its seed is the
    evaluation's digest, which is fixed before any version is evaluated. So the order is
    independent of the scores, as a confidence sequence requires.

    Args:
        evaluation: A published evaluation; the calls name that version.
        batch: Dataset rows per batch, each with all its trials.
        is_decided: Called after each batch; the evaluation ends when it returns true.
    """
    batched = _copy(_BatchedEvaluation, evaluation)
    batched._batch, batched._is_decided, batched._seed = batch, is_decided, _ref(evaluation).digest
    if isinstance(evaluation, _ReportingEvaluation):
        batched._callbacks = evaluation._callbacks
    return batched


def _ref(evaluation: weave.Evaluation) -> ObjectRef:
    ref = get_ref(evaluation)
    if ref is None:
        raise InternalError("An evaluation must be published before it is wrapped.")
    return ref


def _copy(kind: type[_Kind], evaluation: weave.Evaluation) -> _Kind:
    """Return the evaluation as an instance of another class, under the same reference."""
    copied = kind(**{name: getattr(evaluation, name) for name in weave.Evaluation.model_fields})
    set_ref(copied, _ref(evaluation))
    return copied


@dataclass(frozen=True)
class _Rows:
    """A dataset's rows, which end early; Weave takes the next one when another is done."""

    rows: Sequence[Any]
    is_stopped: Callable[[], bool]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        return takewhile(lambda _row: not self.is_stopped(), self.rows)


class _ReportingEvaluation(weave.Evaluation):
    """Weave's own evaluation, with callbacks."""

    _callbacks: Callbacks = PrivateAttr(default_factory=Callbacks)

    # Not an op: the recorded call is that of Weave's method.
    async def predict_and_score(  # type: ignore[override]
        self, model: Any, example: Any
    ) -> Any:
        result = await weave.Evaluation.predict_and_score(self, model, example)
        self._callbacks.on_row(_scores(result))
        return result

    async def get_eval_results(self, model: Any) -> EvaluationResults:
        self._report_start()
        return await self._results(model, list(self.dataset.rows))

    def _report_start(self) -> None:
        if call := weave.get_current_call():
            self._callbacks.on_start(str(call.id))

    async def _results(self, model: Any, rows: Sequence[Any]) -> EvaluationResults:
        """Evaluate some rows of the dataset with Weave's own loop."""
        some = SimpleNamespace(rows=_Rows(rows, self._callbacks.is_stopped))
        part = self.model_copy(update={"dataset": some})
        return await weave.Evaluation.get_eval_results(part, model)


class _BatchedEvaluation(_ReportingEvaluation):
    """Weave's own evaluation in batches (weave 0.54, ``Evaluation.get_eval_results``)."""

    _batch: int = PrivateAttr()
    _is_decided: IsDecided = PrivateAttr()
    _seed: str = PrivateAttr()

    async def get_eval_results(self, model: Any) -> EvaluationResults:
        self._report_start()
        rows = list(self.dataset.rows)
        random.Random(self._seed).shuffle(rows)  # noqa: S311 (no secret)
        results: list[dict[str, Any]] = []
        evaluated: list[Row] = []
        for start in range(0, len(rows), self._batch):
            batch = rows[start : start + self._batch]
            found = await self._results(model, batch)
            results += found.rows
            evaluated += map(_row, batch * self.trials, found.rows)
            if self._is_decided(evaluated):
                break
        return EvaluationResults(rows=Table(results))


def _row(example: Any, result: dict[str, Any]) -> Row:
    """Return the row as it will be read back, without its call and its output."""
    return Row(
        call="",
        digest=example.ref.extra[-1],
        columns=dict(example),
        output=None,
        # The trace server stores null for a score that is not finite.
        scores={name: score for name, score in _scores(result).items() if math.isfinite(score)},
    )


def _scores(result: Mapping[str, Any]) -> dict[str, bool | float]:
    return flat_scores({LATENCY: result.get(LATENCY), **result["scores"]})
