"""Compares a version with the champion: the same metric on the same rows, with an interval."""

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

    A row that was evaluated in several trials counts once, with the mean of its scores.

    Raises:
        ConfigurationError: The metric is no mean over rows, or a column does not exist.
        EvidenceError: The champion was not evaluated on every row, or a row lacks the score.
    """
    ours, theirs = _paired(threshold, candidate, champion)
    clusters = _clusters(threshold, candidate, list(ours))
    new, old = list(ours.values()), [theirs[digest] for digest in ours]
    confidence = threshold.confidence
    interval = paired_interval(new, old, confidence=confidence, clusters=clusters)
    return Comparison(
        champion=mean(old),
        difference=interval.difference,
        interval=(interval.low, interval.high),
        confidence=confidence,
        method=interval.method,
        p_value=_p_value(new, old) if clusters is None else None,
        detectable=detectable_difference(new, old, confidence=confidence, clusters=clusters),
        rows=len(new),
        clusters=len(set(clusters)) if clusters else None,
    )


def gain(threshold: RelativeThreshold, comparison: Comparison) -> tuple[float, float]:
    """The interval of the version's gain over the champion; a gain is always positive."""
    low, high = comparison.interval
    return (low, high) if threshold.sign > 0 else (-high, -low)


def holds(threshold: RelativeThreshold, comparison: Comparison) -> bool:
    """Whether a relative threshold holds.

    The interval decides, but for yes-or-no scores any gain is shown by McNemar's exact test.
    """
    low, _ = gain(threshold, comparison)
    if threshold.uses_exact_test and comparison.p_value is not None:
        is_better = threshold.sign * comparison.difference > 0
        return is_better and comparison.p_value <= 1 - threshold.confidence
    return threshold.holds(low)


def _paired(
    threshold: RelativeThreshold, candidate: Sequence[Row], champion: Sequence[Row]
) -> tuple[dict[str, bool | float], dict[str, bool | float]]:
    """Both scores of each dataset row, by its digest."""
    ours, theirs = _by_digest(threshold, candidate), _by_digest(threshold, champion)
    if missing := ours.keys() - theirs.keys():
        raise EvidenceError(
            f"The champion was not evaluated on {len(missing)} of the {len(ours)} rows that"
            f" {threshold.metric} is compared on."
        )
    return ours, theirs


def _by_digest(threshold: RelativeThreshold, rows: Sequence[Row]) -> dict[str, bool | float]:
    in_slice = sliced(rows, threshold.slice)
    scores = row_scores(in_slice, threshold.metric)
    if scores is None:
        raise ConfigurationError(
            f"{threshold.metric} is no mean over rows, so it cannot be compared row by row.",
            fix="Name a scorer's mean or true_fraction, or model_latency.mean.",
        )
    return mean_by_digest(in_slice, scores)


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
