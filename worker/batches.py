"""An evaluation that asks its rows in batches, in random order, and may stop between two."""

import math
import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import weave
from pydantic import PrivateAttr
from weave.evaluation.eval import EvaluationResults
from weave.trace.ref_util import get_ref, set_ref
from weave.trace.table import Table

from schemas.errors import InternalError
from schemas.rows import Row
from worker.evidence import LATENCY, flat_scores

IsDecided = Callable[[Sequence[Row]], bool]
"""Gets all rows that were answered so far; says whether no more are needed."""


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
    ref = get_ref(evaluation)
    if ref is None:
        raise InternalError("An evaluation is asked in batches before it was published.")
    made = _InBatches(**{name: getattr(evaluation, name) for name in weave.Evaluation.model_fields})
    set_ref(made, ref)
    made._batch, made._is_decided, made._seed = batch, is_decided, ref.digest
    return made


class _InBatches(weave.Evaluation):
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
    scores = flat_scores({LATENCY: result.get(LATENCY), **result["scores"]})
    return Row(
        call="",
        digest=example.ref.extra[-1],
        columns=dict(example),
        output=None,
        # What is not finite is null on the trace server.
        scores={name: score for name, score in scores.items() if math.isfinite(score)},
    )
