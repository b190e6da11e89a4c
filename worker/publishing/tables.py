"""Tables of the run: all predictions, and those that changed compared with the champion.

W&B compares tables of different runs if they have the same key, columns and types. So these never
change, and each column's type is explicit: W&B would infer it from the values, and a column whose
values are all missing would have none.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import wandb

from worker.publishing.predictions import Flip, Prediction, flips

_PREDICTIONS: dict[str, type] = {
    "id": str,
    "input": str,
    "ground_truth": str,
    "prediction": str,
    "correct": bool,
    "confidence": float,
    "error_type": str,
    "topic": str,
}
_CHANGED: dict[str, type] = {
    "id": str,
    "input": str,
    "ground_truth": str,
    "candidate": str,
    "champion": str,
    "right": str,
    "topic": str,
}


def log_tables(
    run: wandb.Run, candidate: Sequence[Prediction], champion: Sequence[Prediction] | None
) -> None:
    """Log the tables ``predictions`` and ``changed_predictions``.

    Args:
        run: The weighing's run.
        candidate: The version's predictions.
        champion: The champion's predictions; None logs no table of changes.
    """
    tables = {"predictions": _table(_PREDICTIONS, (one.model_dump() for one in candidate))}
    if champion is not None:
        changed = (_changed(flip) for flip in flips(candidate, champion))
        tables["changed_predictions"] = _table(_CHANGED, changed)
    run.log(tables)


def _table(columns: Mapping[str, type], rows: Iterable[Mapping[str, Any]]) -> wandb.Table:
    data = [[row[column] for column in columns] for row in rows]
    return wandb.Table(columns=list(columns), data=data, dtype=list(columns.values()))


def _changed(flip: Flip) -> dict[str, str]:
    return {
        **flip.candidate.model_dump(include={"id", "input", "ground_truth", "topic"}),
        "candidate": flip.candidate.prediction,
        "champion": flip.champion.prediction,
        "right": "candidate" if flip.gained else "champion",
    }
