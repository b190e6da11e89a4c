"""Evaluations as if the trace server had them, for what is pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from schemas.rows import Row
from worker.verdict.evidence import Evaluated
from worker.verdict.usage import usage_metrics

Scores = Mapping[str, Sequence[bool | float]]


def rows(scores: Scores, columns: Sequence[Mapping[str, Any]] = ()) -> tuple[Row, ...]:
    """A row for each place in the scores; the same place is the same dataset row."""
    count = len(next(iter(scores.values())))
    return tuple(
        Row(
            call=f"call-{place}",
            digest=f"row-{place}",
            columns=columns[place] if columns else {"id": place},
            output={"answer": "yes"},
            scores={name: values[place] for name, values in scores.items()},
        )
        for place in range(count)
    )


def evaluated(
    scores: Scores,
    columns: Sequence[Mapping[str, Any]] = (),
    **summary: Any,
) -> Evaluated:
    """An evaluation with these scores, and the summary that Weave makes of them."""
    return of_rows(rows(scores, columns), **summary)


def of_rows(found: Sequence[Row], **summary: Any) -> Evaluated:
    """An evaluation with these rows."""
    names = found[0].scores
    auto: dict[str, Any] = {}
    for name in names:
        place = auto
        *parents, leaf = name.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = _summarised([row.scores[name] for row in found])
    return Evaluated(
        call="root",
        url="https://wandb.test/root",
        evaluation="weave:///e/p/object/evaluation:digest",
        dataset="weave:///e/p/object/dataset:digest",
        model="weave:///e/p/object/RagModel:digest",
        of_rows=len(found),
        rows=tuple(found),
        summary={**usage_metrics({}, found), **auto, **summary},
    )


def _summarised(scores: Sequence[bool | float]) -> dict[str, float]:
    """As weave 0.54 does (`weave.flow.scorer.auto_summarize`)."""
    if all(isinstance(score, bool) for score in scores):
        return {"true_count": sum(scores), "true_fraction": sum(scores) / len(scores)}
    return {"mean": float(np.mean(scores))}
