"""Stops an evaluation when the rows to come will hardly change the verdict any more.

Each threshold on a mean of scores between 0 and 1 is watched by a confidence sequence over the rows
in random order, one beside the champion by what is gained over it. A rejection is certain when one
threshold is certain to fail, a promotion when all are certain to hold. And the rows so far must say
the same to the weighing, which sees no others: with fewer than `min_rows`, or unlucky ones, the
evaluation goes on.

What is never certain:

* a threshold on what has no bounds, as latency, usage or cost;
* that a version holds beside the champion: the weighing asks that of the lower end of an interval,
  which the confidence does not cover when it is looked at after each batch. The failure is certain,
  as that end is below the mean difference.

Under a gate with either, only a rejection comes early.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import ConfigurationError, EvidenceError
from schemas.gates import Gate
from schemas.rows import LATENCY, Row
from schemas.thresholds import RelativeThreshold, Threshold
from schemas.verdicts import Check
from worker.verdict.checks import check_thresholds, decide_outcome
from worker.verdict.evidence import Evaluated
from worker.verdict.row_metrics import mean, mean_by_digest, row_scores
from worker.verdict.statistics import ConfidenceSequence


class EarlyVerdict:
    """Says after each batch whether the verdict is certain; an `IsDecided`.

    A dataset with equal rows is evaluated whole: the weighing counts such rows once beside a
    champion and each for itself otherwise, and no sequence is of both.

    Args:
        gate: with `early_stop`.
        dataset: every row of the dataset, its columns.
        champion: the champion's rows; None if there is no champion.
    """

    def __init__(
        self, gate: Gate, dataset: Sequence[Mapping[str, Any]], champion: Sequence[Row] | None
    ) -> None:
        assert gate.early_stop  # noqa: S101 (the caller has looked)
        self._gate = gate
        self._champion = champion
        self._has_equal_rows = len({_text(columns) for columns in dataset}) < len(dataset)
        # Together the thresholds may be wrong as often as the gate allows.
        risk = (1 - gate.early_stop.confidence) / len(gate.thresholds)
        self._watched = [_Watched(one, dataset, champion, risk) for one in gate.thresholds]

    def __call__(self, rows: Sequence[Row]) -> bool:
        """Whether the rows so far decide.

        Raises:
            ConfigurationError: a score is not between 0 and 1.
        """
        if self._has_equal_rows:
            return False
        try:
            return self._is_certain(rows)
        except EvidenceError:
            return False  # a score is missing, which the weighing of all rows will tell

    def _is_certain(self, rows: Sequence[Row]) -> bool:
        certain = [watched.will_hold(rows) for watched in self._watched]
        if None in certain and False not in certain:
            return False
        try:
            checks = self._weighed(rows)
        except ConfigurationError:
            return False  # no row of a slice was asked yet
        if decide_outcome(checks) == "failed":
            return False  # these rows do not suffice
        agreed = [sure for sure, check in zip(certain, checks, strict=True) if sure is check.passed]
        return False in agreed or len(agreed) == len(checks)

    def _weighed(self, rows: Sequence[Row]) -> tuple[Check, ...]:
        """What the weighing says of the rows so far; what they cannot show counts as 0."""
        scores = {one.metric: row_scores(rows, one.metric) for one in self._gate.thresholds}
        summary = {metric: mean(found) if found else 0.0 for metric, found in scores.items()}
        champion = None if self._champion is None else _evaluated(self._champion, {})
        return check_thresholds(self._gate, _evaluated(rows, summary), champion)


class _Watched:
    """One threshold, and where its metric can still be on the whole dataset."""

    def __init__(
        self,
        threshold: Threshold,
        dataset: Sequence[Mapping[str, Any]],
        champion: Sequence[Row] | None,
        risk: float,
    ) -> None:
        self._threshold = threshold
        self._is_relative = isinstance(threshold, RelativeThreshold)
        self._theirs: dict[str, float] | None = None
        if self._is_relative and champion is not None:
            self._theirs = _bounded_scores(champion, threshold.metric)
        self._sequence = ConfidenceSequence(
            sum(map(threshold.covers, dataset)),
            low=0.0 if self._theirs is None else -1.0,
            high=1.0,
            confidence=1 - 2 * risk,  # only one end can be wrong about a bound
        )
        self._seen: set[str] = set()

    def will_hold(self, rows: Sequence[Row]) -> bool | None:
        """Whether the threshold is certain to hold or to fail on all rows; None if neither."""
        if self._is_relative and self._theirs is None:
            return True  # as the weighing has it: the first version passes
        inside = [row for row in rows if self._threshold.covers(row.columns)]
        self._take_in(_bounded_scores(inside, self._threshold.metric))
        if not self._seen:
            return None
        low, high = map(self._threshold.holds, self._sequence.interval)
        if low != high or (low and self._theirs is not None):
            return None
        return low

    def _take_in(self, scores: Mapping[str, float]) -> None:
        new = [digest for digest in scores if digest not in self._seen]
        self._sequence.add([self._gain(digest, scores[digest]) for digest in new])
        self._seen.update(new)

    def _gain(self, digest: str, score: float) -> float:
        """The score, or what it is better than the champion's."""
        if self._theirs is None:
            return score
        if digest not in self._theirs:
            raise EvidenceError(f"The champion was not asked row {digest}.")
        return self._threshold.sign * (score - self._theirs[digest])


def _bounded_scores(rows: Sequence[Row], metric: str) -> dict[str, float]:
    """The mean score of each dataset row over its trials; empty for what has no bounds."""
    scores = None if metric.startswith(f"{LATENCY}.") else row_scores(rows, metric)
    if scores is None:
        return {}
    outside = [score for score in scores if not 0 <= score <= 1]
    if outside:
        raise ConfigurationError(
            f"{metric} is {outside[0]:g} on a row, and an evaluation can only stop early on scores"
            " between 0 and 1.",
            fix="Take early_stop out of the gate.",
        )
    return mean_by_digest(rows, scores)


def _evaluated(rows: Sequence[Row], summary: dict[str, Any]) -> Evaluated:
    """Rows as the weighing takes them; where they are in Weave is not known yet."""
    return Evaluated(
        call="",
        url="",
        evaluation="",
        dataset="",
        model="",
        of_rows=len(rows),
        rows=tuple(rows),
        summary=summary,
    )


def _text(columns: Mapping[str, Any]) -> str:
    return json.dumps(columns, sort_keys=True, default=str)
