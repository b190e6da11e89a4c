"""The interval for the difference between two versions on the same rows."""

import math
import warnings
from collections.abc import Hashable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.verdict.statistics.differences import Differences, differences

_RESAMPLES = 9_999
_BATCH = 250  # resamples per batch: 20 MB for 3,000 rows
_SEED = 0  # fixed, so that the same scores give the same verdict


class PairedInterval(NamedTuple):
    """The difference between candidate and champion, with its interval.

    Attributes:
        difference: Mean of the candidate minus mean of the champion.
        low: Lower end of the interval.
        high: Upper end of the interval.
        method: Method of the interval, in words.
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

    The method is BCa: Efron, "Better Bootstrap Confidence Intervals", JASA 82 (1987). With
    clusters, whole clusters are resampled, and the difference is the ratio of the summed
    differences to the number of rows.

    Args:
        candidate: One number per row; a yes is 1.
        champion: Numbers of the same rows, in the same order.
        confidence: Confidence of the interval, below 1.
        clusters: One label per row; rows with the same label are resampled together.
        resamples: Number of bootstrap resamples.

    Raises:
        TooFewRowsError: A single row or cluster gives no interval.
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
    from scipy.stats import DegenerateDataWarning, bootstrap  # takes a second; few gates need it

    draw = partial(
        bootstrap,
        (drawn.sums, drawn.sizes),
        _ratio,
        paired=True,
        vectorized=True,
        confidence_level=confidence,
    )
    # Where scipy and numpy warn, BCa has no answer and the percentile interval replaces it.
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        result = draw(n_resamples=resamples, batch=_BATCH, rng=np.random.default_rng(_SEED))
    low, high = result.confidence_interval
    if not math.isnan(low + high):
        return float(low), float(high), "BCa"
    low, high = draw(
        n_resamples=0, method="percentile", bootstrap_result=result
    ).confidence_interval
    return float(low), float(high), "percentile, because BCa has no answer here"


def _ratio(sums: NDArray[np.float64], sizes: NDArray[np.float64], axis: int) -> Any:
    return sums.sum(axis=axis) / sizes.sum(axis=axis)
