"""Metrics recomputed from an evaluation's rows, from all of them or a slice.

Weave summarises a number as its `mean` and a yes or no as its `true_fraction` and `true_count`
(weave 0.54, `weave.flow.scorer.auto_summarize`).
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from schemas.errors import ConfigurationError, EvidenceError
from schemas.rows import Row

# Each statistic that is a mean over rows: whether it is one of a yes or no.
STATISTICS = {"mean": False, "true_fraction": True}


def row_scores(rows: Sequence[Row], metric: str) -> list[bool | float] | None:
    """The score behind a metric that is a mean over rows.

    Args:
        metric: Dotted path into the summary, as in ``answer_correctness.mean``.

    Returns:
        One score for each row; None if the metric is no mean over rows, as is
        ``usage.total_tokens``.

    Raises:
        EvidenceError: Some rows have the score and others do not.
    """
    path, _, statistic = metric.rpartition(".")
    found = [row.scores[path] for row in rows if path in row.scores]
    if statistic not in STATISTICS or not found:
        return None
    if len(found) < len(rows):
        first = next(row.call for row in rows if path not in row.scores)
        raise EvidenceError(
            f"{len(rows) - len(found)} of {len(rows)} rows have no {path}; the first is Weave call"
            f" {first}.",
            fix="See the errors of its children in Weave.",
        )
    is_yes_or_no = all(isinstance(score, bool) for score in found)
    return found if is_yes_or_no == STATISTICS[statistic] else None


def mean(scores: Sequence[bool | float]) -> float:
    """The mean of scores, where a yes is 1; it does not depend on their order."""
    return math.fsum(scores) / len(scores)


def mean_by_digest(rows: Sequence[Row], scores: Sequence[bool | float]) -> dict[str, bool | float]:
    """The score of each dataset row by its digest; of several trials, their mean."""
    trials: dict[str, list[bool | float]] = defaultdict(list)
    for row, score in zip(rows, scores, strict=True):
        trials[row.digest].append(score)
    return {
        digest: several[0] if len(several) == 1 else mean(several)
        for digest, several in trials.items()
    }


def sliced(rows: Sequence[Row], columns: Mapping[str, str | int | float | bool]) -> list[Row]:
    """The rows whose dataset columns have these values.

    Raises:
        ConfigurationError: There is no such column, or no row has these values.
    """
    for column in columns:
        column_of(rows, column)
    found = [
        row for row in rows if all(row.columns[name] == value for name, value in columns.items())
    ]
    if not found:
        column = next(iter(columns))
        values = sorted({str(row.columns[column]) for row in rows})
        raise ConfigurationError(
            f"No row of the evaluation has {dict(columns)}; its {column} is one of"
            f" {', '.join(values)}.",
            fix="Fix the threshold's slice in the gate file.",
        )
    return found


def column_of(rows: Sequence[Row], column: str) -> list[str]:
    """A dataset column's value in each row, as text.

    Raises:
        ConfigurationError: The dataset has no such column.
    """
    if any(column not in row.columns for row in rows):
        known = sorted(set.intersection(*(set(row.columns) for row in rows)))
        raise ConfigurationError(
            f"The evaluation's dataset has no column {column}; it has {', '.join(known)}.",
            fix="Fix slice or cluster in the gate file.",
        )
    return [str(row.columns[column]) for row in rows]
