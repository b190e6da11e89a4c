"""Bounds the mean of a whole evaluation after any number of its rows."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigurationError, InternalError

# Stakes, as shares of the largest that is allowed. In trials with 66 to 1,000 rows, 10 or 20
# shares stopped no earlier.
_STAKES = np.arange(1, 6)[:, None] / 6
_HALVINGS = 20  # locates an end of the interval to a millionth of the range


class ConfidenceSequence:
    """An interval that is valid after every row, so that it may stop the evaluation at any of them.

    With the stated confidence, the mean of all rows is within the interval after every row. This
    holds for any scores between the bounds, provided that the rows come in a random order.

    The rows are drawn without replacement from those of the evaluation. Against each candidate
    mean, players bet on every next score at odds that are fair if the mean is right. The chance
    that their wealth ever grows by the factor 1 / risk is then at most the risk (Ville's
    inequality). A mean against which it does is excluded.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
    JRSS B 86 (2024), https://arxiv.org/abs/2010.09686: the hedged capital process for sampling
    without replacement (theorem 4), with the bets that they call hgKelly, a grid of constant
    stakes.

    Check a threshold at both ends of the interval: if they agree, so does the mean of the whole
    evaluation::

        rows = ConfidenceSequence(66, low=0, high=1, confidence=0.95)
        rows.add(scores_of_the_first_16)
        low, high = rows.interval
        certain = threshold.holds(low) == threshold.holds(high)

    Args:
        total: Number of rows in the evaluation.
        low: Lowest score that a row can have.
        high: Highest score that a row can have.
        confidence: Probability that the interval never misses the mean of all rows.
    """

    def __init__(self, total: int, *, low: float, high: float, confidence: float) -> None:
        self._total = total
        self._low = low
        self._high = high
        self._risk = (1 - confidence) / 2  # of each end
        self._values: list[float] = []

    def add(self, values: Iterable[float]) -> None:
        """Add the scores of further rows, in the order in which they came.

        Raises:
            ConfigurationError: A score is not between the bounds.
            InternalError: There are more scores than rows.
        """
        for value in map(float, values):
            if not self._low <= value <= self._high:
                raise ConfigurationError(
                    f"A score is {value:g}, which is not between {self._low:g} and {self._high:g}.",
                    fix="Remove early_stop from the gate.",
                )
            self._values.append(value)
        if len(self._values) > self._total:
            raise InternalError(f"More scores than the {self._total} rows of an evaluation.")

    @property
    def interval(self) -> tuple[float, float]:
        """The closed interval for the mean of all rows.

        It is the exact mean once all rows are added. If it would be empty, the order was not random
        or an unlikely event happened; then it is the range that is still possible.
        """
        lowest, highest = self._possible()
        width = self._high - self._low
        scores = (np.array(self._values) - self._low) / width
        low = max(lowest, self._low + width * _lower_end(scores, self._total, self._risk))
        high = min(highest, self._high - width * _lower_end(1 - scores, self._total, self._risk))
        return (low, high) if low <= high else (lowest, highest)

    def _possible(self) -> tuple[float, float]:
        """The mean if every further row had the lowest score, and the highest."""
        seen, to_come = math.fsum(self._values), self._total - len(self._values)
        return (
            (seen + to_come * self._low) / self._total,
            (seen + to_come * self._high) / self._total,
        )


def _lower_end(scores: NDArray[np.float64], total: int, risk: float) -> float:
    """The highest mean that these scores, all between 0 and 1, exclude from below; 0 if none."""
    before = np.cumsum(scores) - scores
    to_come = total - np.arange(len(scores))
    excluded, kept = 0.0, 1.0
    # An excluded mean excludes all lower ones: players win more against those.
    for _ in range(_HALVINGS):
        claimed = (excluded + kept) / 2
        if _peak_wealth(scores, (total * claimed - before) / to_come) >= 1 / risk:
            excluded = claimed
        else:
            kept = claimed
    return excluded


def _peak_wealth(scores: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """The players' highest total wealth, starting from 1.

    Args:
        expected: Expectation of each score given those before it, if the claimed mean is right.
    """
    with np.errstate(over="ignore"):
        # Against a mean that is no longer possible, wealth is unbounded.
        gains = scores / np.maximum(expected, np.finfo(float).tiny) - 1
        wealth = np.cumprod(1 + _STAKES * gains, axis=1).mean(axis=0)
    return float(wealth.max(initial=1.0))
