"""A version beside the champion: the same metric on the same rows, with an interval."""

from collections.abc import Sequence

from schemas.errors import ConfigurationError, EvidenceError
from schemas.rows import Row
from schemas.thresholds import RelativeThreshold
from schemas.verdicts import Comparison
from worker.verdict.row_metrics import column_of, mean, mean_by_digest, row_scores, sliced
from worker.verdict.statistics import detectable_difference, mcnemar_p, paired_interval


def compare(
    threshold: RelativeThreshold, candidate: Sequence[Row], champion: Sequence[Row]
) -> Comparison:
    """Compare a metric row by row, on the rows that the candidate has.

    A row that was asked in several trials counts once, with the mean of its scores.

    Raises:
        ConfigurationError: the metric is no mean over rows, or a column does not exist.
        EvidenceError: the champion was not asked every row, or a row lacks the score.
    """
    ours, theirs = _paired(threshold, candidate, champion)
    labels = _clusters(threshold, candidate, list(ours))
    one, other = list(ours.values()), [theirs[digest] for digest in ours]
    level = threshold.confidence
    interval = paired_interval(one, other, confidence=level, clusters=labels)
    return Comparison(
        champion=mean(other),
        difference=interval.difference,
        interval=(interval.low, interval.high),
        confidence=level,
        method=interval.method,
        p_value=_p_value(one, other) if labels is None else None,
        detectable=detectable_difference(one, other, confidence=level, clusters=labels),
        rows=len(one),
        clusters=len(set(labels)) if labels else None,
    )


def gain(threshold: RelativeThreshold, comparison: Comparison) -> tuple[float, float]:
    """The interval of what the version gains, where more is better."""
    low, high = comparison.interval
    return (low, high) if threshold.sign > 0 else (-high, -low)


def holds(threshold: RelativeThreshold, comparison: Comparison) -> bool:
    """Whether a relative threshold holds.

    By the interval, but that a yes or no is better by McNemar's exact test.
    """
    low, _ = gain(threshold, comparison)
    if threshold.uses_exact_test and comparison.p_value is not None:
        is_better = threshold.sign * comparison.difference > 0
        return is_better and comparison.p_value <= 1 - threshold.confidence
    return threshold.holds(low)


def _paired(
    threshold: RelativeThreshold, candidate: Sequence[Row], champion: Sequence[Row]
) -> tuple[dict[str, bool | float], dict[str, bool | float]]:
    """The score of each dataset row, by its digest, for both."""
    ours, theirs = _by_digest(threshold, candidate), _by_digest(threshold, champion)
    if missing := ours.keys() - theirs.keys():
        raise EvidenceError(
            f"The champion was not asked {len(missing)} of the {len(ours)} rows that"
            f" {threshold.metric} is compared on."
        )
    return ours, theirs


def _by_digest(threshold: RelativeThreshold, rows: Sequence[Row]) -> dict[str, bool | float]:
    part = sliced(rows, threshold.slice)
    scores = row_scores(part, threshold.metric)
    if scores is None:
        raise ConfigurationError(
            f"{threshold.metric} is no mean over rows, so it cannot be compared row by row.",
            fix="Name a scorer's mean or true_fraction, or model_latency.mean.",
        )
    return mean_by_digest(part, scores)


def _clusters(
    threshold: RelativeThreshold, candidate: Sequence[Row], digests: Sequence[str]
) -> list[str] | None:
    if threshold.cluster is None:
        return None
    labels = column_of(candidate, threshold.cluster)
    by_digest = {row.digest: label for row, label in zip(candidate, labels, strict=True)}
    return [by_digest[digest] for digest in digests]


def _p_value(candidate: Sequence[bool | float], champion: Sequence[bool | float]) -> float | None:
    if all(isinstance(score, bool) for score in (*candidate, *champion)):
        return mcnemar_p([bool(one) for one in candidate], [bool(one) for one in champion])
    return None
