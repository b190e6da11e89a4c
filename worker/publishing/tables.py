"""Tables on the run: every prediction, and those that the champion got differently.

W&B compares tables of different runs when they have the same key, columns and types. So these
never change, and each column's type is stated: W&B would take it from the values, and a column
whose values are all missing has none.
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


def log_predictions(
    run: wandb.Run, candidate: Sequence[Prediction], champion: Sequence[Prediction] | None
) -> None:
    """Log what was answered as the table `predictions`, and what changed as `changed_predictions`.

    Args:
        run: the weighing's run.
        candidate: the version's predictions.
        champion: the champion's; None when there is none, and then nothing has changed.
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
