"""The interval for the difference between two versions that answered the same rows."""

import math
import warnings
from collections.abc import Hashable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap

from worker.verdict.statistics.differences import Differences, differences

_RESAMPLES = 9_999
_BATCH = 250  # resamples at once: 20 MB for 3,000 rows
_SEED = 0  # any: the same scores must give the same verdict


class PairedInterval(NamedTuple):
    """Where the difference between candidate and champion is.

    Attributes:
        difference: mean of the candidate less mean of the champion.
        low: lower end of the interval for it.
        high: upper end.
        method: how the interval was made, in words.
    """

    difference: float
    low: float
    high: float
    method: str


def paired_interval(
    candidate: Iterable[float],
    champion: Iterable[float],
    *,
    confidence: float,
    clusters: Iterable[Hashable] | None = None,
    resamples: int = _RESAMPLES,
) -> PairedInterval:
    """Bootstrap the difference of the means, two-sided.

    The method is BCa: Efron, "Better Bootstrap Confidence Intervals", JASA 82 (1987). With clusters
    whole clusters are drawn, and the difference is that of a row: the ratio of the summed
    differences to the number of rows.

    Args:
        candidate: one number per row; a yes is 1.
        champion: of the same rows, in the same order.
        confidence: of the interval, below 1.
        clusters: one label per row; rows with the same label are drawn together.
        resamples: how often rows are drawn.

    Raises:
        TooFewRowsError: one row or one cluster alone gives no interval.
    """
    drawn = differences(candidate, champion, clusters)
    if drawn.uniform:
        method = f"no spread: every {drawn.unit} differs by the same amount"
        return PairedInterval(drawn.mean, drawn.mean, drawn.mean, method)
    low, high, name = _bootstrapped(drawn, confidence, resamples)
    method = f"paired bootstrap of {drawn.unit}s, {name}"
    return PairedInterval(drawn.mean, low, high, method)


def _bootstrapped(
    drawn: Differences, confidence: float, resamples: int
) -> tuple[float, float, str]:
    draw = partial(
        bootstrap,
        (drawn.sums, drawn.sizes),
        _ratio,
        paired=True,
        vectorized=True,
        confidence_level=confidence,
    )
    # What scipy and numpy warn of here is what the percentiles are for.
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        made = draw(n_resamples=resamples, batch=_BATCH, rng=np.random.default_rng(_SEED))
    low, high = made.confidence_interval
    if not math.isnan(low + high):
        return float(low), float(high), "BCa"
    low, high = draw(n_resamples=0, method="percentile", bootstrap_result=made).confidence_interval
    return float(low), float(high), "percentile, because BCa has no answer here"


def _ratio(sums: NDArray[np.float64], sizes: NDArray[np.float64], axis: int) -> Any:
    return sums.sum(axis=axis) / sizes.sum(axis=axis)
