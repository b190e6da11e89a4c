"""The smallest difference that an evaluation could have shown."""

from collections.abc import Hashable, Iterable
from statistics import NormalDist

import numpy as np

from worker.verdict.statistics.differences import Differences, differences


def detectable_difference(
    candidate: Iterable[float],
    champion: Iterable[float],
    *,
    confidence: float,
    clusters: Iterable[Hashable] | None = None,
    power: float = 0.8,
) -> float:
    """The smallest true difference of the means that these rows detect with this power.

    That is the standard error times the sum of two normal quantiles: Bloom, "Minimum Detectable
    Effects", Evaluation Review 19 (1995); for evaluations of language models, with the error of
    clusters: Miller, "Adding Error Bars to Evals" (https://arxiv.org/abs/2411.00640).

    Rows without any spread cannot detect every difference, however small: they would miss a change
    that occurs less than once in so many rows. So the error is computed as if one row, or one
    cluster, differed by 1, or by the largest score if that is more. At 95 % this is 2.8 divided by
    the number of rows, close to the "rule of three": Hanley and Lippman-Hand, "If Nothing Goes
    Wrong, Is Everything All Right?", JAMA 249 (1983).

    Args:
        candidate: One number per row; a yes is 1.
        champion: Numbers of the same rows, in the same order.
        confidence: Confidence of the two-sided interval that must exclude zero.
        clusters: One label per row; rows with the same label belong together.
        power: Probability that the interval excludes zero.

    Raises:
        TooFewRowsError: A single row or cluster has no standard error.
    """
    candidate, champion = list(candidate), list(champion)
    drawn = differences(candidate, champion, clusters)
    error = _standard_error(drawn)
    if drawn.uniform:
        error = max(1.0, *map(abs, candidate), *map(abs, champion)) / len(drawn.sums)
    normal = NormalDist()
    return (normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(power)) * error


def _standard_error(drawn: Differences) -> float:
    """The standard error of a ratio over clusters; s / sqrt(n) where each row is a cluster."""
    count = len(drawn.sums)
    spread = np.linalg.norm(drawn.residuals)
    return float(spread / drawn.sizes.sum() * np.sqrt(count / (count - 1)))
