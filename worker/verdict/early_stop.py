"""Stops an evaluation when further rows will hardly change the verdict.

Each threshold on a mean of scores between 0 and 1 is watched by a confidence sequence over the rows
in random order; a relative threshold by the gain over the champion. A rejection is certain when one
threshold is certain to fail, a promotion when all are certain to hold. In addition the checks must
agree on the rows so far, because the verdict is reached on these rows alone: with fewer than
``min_rows``, or with unlucky ones, the evaluation goes on.

Never certain are:

* a threshold on a metric without bounds, such as latency, usage or cost;
* that a version holds against the champion: that check needs the lower end of an interval, and the
  confidence does not cover an end that is read after each batch. Its failure can be certain, as
  that end is below the mean difference.

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
    """Decides after each batch whether the verdict is certain; an ``IsDecided``.

    A dataset with equal rows is evaluated in full: a comparison with the champion counts such rows
    once, the other checks count each of them, and no sequence covers both.

    Args:
        gate: A gate with ``early_stop``.
        dataset: The columns of every row of the dataset.
        champion: The champion's rows; None if there is no champion.
    """

    def __init__(
        self, gate: Gate, dataset: Sequence[Mapping[str, Any]], champion: Sequence[Row] | None
    ) -> None:
        assert gate.early_stop  # noqa: S101 (the caller checks)
        self._gate = gate
        self._champion = champion
        self._has_equal_rows = len({_text(columns) for columns in dataset}) < len(dataset)
        # The thresholds share the risk that the gate allows.
        risk = (1 - gate.early_stop.confidence) / len(gate.thresholds)
        self._watched = [_Watched(one, dataset, champion, risk) for one in gate.thresholds]

    def __call__(self, rows: Sequence[Row]) -> bool:
        """Whether the rows so far decide the verdict.

        Raises:
            ConfigurationError: A score is not between 0 and 1.
        """
        if self._has_equal_rows:
            return False
        try:
            return self._is_certain(rows)
        except EvidenceError:
            return False  # a score is missing: the checks on all rows report it

    def _is_certain(self, rows: Sequence[Row]) -> bool:
        certain = [watched.will_hold(rows) for watched in self._watched]
        if None in certain and False not in certain:
            return False
        try:
            checks = self._checks(rows)
        except ConfigurationError:
            return False  # no row of some slice is evaluated yet
        if decide_outcome(checks) == "failed":
            return False  # too few rows for a verdict
        agreed = [sure for sure, check in zip(certain, checks, strict=True) if sure is check.passed]
        return False in agreed or len(agreed) == len(checks)

    def _checks(self, rows: Sequence[Row]) -> tuple[Check, ...]:
        """The checks on the rows so far; a metric that is no mean over rows counts as 0."""
        scores = {one.metric: row_scores(rows, one.metric) for one in self._gate.thresholds}
        summary = {metric: mean(found) if found else 0.0 for metric, found in scores.items()}
        champion = None if self._champion is None else _evaluated(self._champion, {})
        return check_thresholds(self._gate, _evaluated(rows, summary), champion)


class _Watched:
    """One threshold, and the interval of its metric on the whole dataset."""

    def __init__(
        self,
        threshold: Threshold,
        dataset: Sequence[Mapping[str, Any]],
        champion: Sequence[Row] | None,
        risk: float,
    ) -> None:
        self._threshold = threshold
        self._is_relative = isinstance(threshold, RelativeThreshold)
        self._champion_scores: dict[str, float] | None = None
        if self._is_relative and champion is not None:
            self._champion_scores = _bounded_scores(champion, threshold.metric)
        self._sequence = ConfidenceSequence(
            sum(map(threshold.covers, dataset)),
            low=0.0 if self._champion_scores is None else -1.0,
            high=1.0,
            confidence=1 - 2 * risk,  # only one end can be wrong about a bound
        )
        self._seen: set[str] = set()

    def will_hold(self, rows: Sequence[Row]) -> bool | None:
        """Whether the threshold is certain to hold or to fail on all rows; None if neither."""
        if self._is_relative and self._champion_scores is None:
            return True  # without a champion the check passes
        in_slice = [row for row in rows if self._threshold.covers(row.columns)]
        self._add(_bounded_scores(in_slice, self._threshold.metric))
        if not self._seen:
            return None
        low, high = map(self._threshold.holds, self._sequence.interval)
        if low != high or (low and self._champion_scores is not None):
            return None
        return low

    def _add(self, scores: Mapping[str, float]) -> None:
        new = [digest for digest in scores if digest not in self._seen]
        self._sequence.add([self._gain(digest, scores[digest]) for digest in new])
        self._seen.update(new)

    def _gain(self, digest: str, score: float) -> float:
        """The score, or its gain over the champion's."""
        if self._champion_scores is None:
            return score
        if digest not in self._champion_scores:
            raise EvidenceError(f"The champion was not evaluated on row {digest}.")
        return self._threshold.sign * (score - self._champion_scores[digest])


def _bounded_scores(rows: Sequence[Row], metric: str) -> dict[str, float]:
    """The mean score of each dataset row over its trials; empty for a metric without bounds."""
    scores = None if metric.startswith(f"{LATENCY}.") else row_scores(rows, metric)
    if scores is None:
        return {}
    outside = [score for score in scores if not 0 <= score <= 1]
    if outside:
        raise ConfigurationError(
            f"{metric} is {outside[0]:g} on a row, and an evaluation can only stop early on scores"
            " between 0 and 1.",
            fix="Remove early_stop from the gate.",
        )
    return mean_by_digest(rows, scores)


def _evaluated(rows: Sequence[Row], summary: dict[str, Any]) -> Evaluated:
    """Rows in the form that the checks take; their place in Weave is not known yet."""
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
