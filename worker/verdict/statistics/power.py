"""How small a difference an evaluation could have shown."""

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
    """The smallest true difference of the means that these rows show with this power.

    That is the standard error times the sum of two normal quantiles: Bloom, "Minimum Detectable
    Effects", Evaluation Review 19 (1995); for evaluations of language models, with the error of
    clusters: Miller, "Adding Error Bars to Evals" (https://arxiv.org/abs/2411.00640).

    Rows without any spread must not claim to show any difference, however small: a change that
    comes up less than once in so many rows would not be among them. So they are taken as if one
    row, or one cluster, differed by 1, or by the largest score there is if that is more. At 95 %
    this is 2.8 divided by the number of rows, next to the "rule of three": Hanley and
    Lippman-Hand, "If Nothing Goes Wrong, Is Everything All Right?", JAMA 249 (1983).

    Args:
        candidate: one number per row; a yes is 1.
        champion: of the same rows, in the same order.
        confidence: of the two-sided interval that has to leave zero out.
        clusters: one label per row; rows with the same label belong together.
        power: how often it would leave zero out.

    Raises:
        TooFewRowsError: one row or one cluster alone has no standard error.
    """
    candidate, champion = list(candidate), list(champion)
    drawn = differences(candidate, champion, clusters)
    error = _standard_error(drawn)
    if drawn.uniform:
        error = max(1.0, *map(abs, candidate), *map(abs, champion)) / len(drawn.sums)
    normal = NormalDist()
    return (normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(power)) * error


def _standard_error(drawn: Differences) -> float:
    """Of a ratio over clusters; where each row is one, it is the textbook's s / sqrt(n)."""
    count = len(drawn.sums)
    spread = np.linalg.norm(drawn.residuals)
    return float(spread / drawn.sizes.sum() * np.sqrt(count / (count - 1)))
