"""Where the mean of a whole evaluation can still be, after any number of its rows."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigurationError, InternalError

# Shares of the most that a player may stake. In trials with 66 to 1,000 rows, 10 or 20 shares
# stopped no earlier.
_STAKES = np.arange(1, 6)[:, None] / 6
_HALVINGS = 20  # finds an end of the interval to a millionth of the range


class ConfidenceSequence:
    """An interval that may be looked at after every row, and acted on at any look.

    With the stated confidence the mean of all rows is within the interval at every look, however
    many there are. This holds for any scores between the bounds, provided that the rows come in a
    random order.

    The rows are drawn without replacement from those of the evaluation. Against each mean that one
    may claim, players bet on every next score at odds that are fair if the claim is true. Then the
    chance that their money ever grows to 1 / risk times what it was is the risk at most (Ville's
    inequality). So a claim against which it did is excluded.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
    JRSS B 86 (2024), https://arxiv.org/abs/2010.09686: the hedged capital process for sampling
    without replacement (theorem 4), with the bets that they call hgKelly, a grid of constant
    stakes.

    Whoever has a bound asks it of both ends of the interval: a verdict on which they agree is that
    of the whole evaluation::

        rows = ConfidenceSequence(66, low=0, high=1, confidence=0.95)
        rows.add(scores_of_the_first_16)
        low, high = rows.interval
        certain = threshold.holds(low) == threshold.holds(high)

    Args:
        total: rows that the evaluation has.
        low: the lowest score that a row can have.
        high: the highest.
        confidence: that the interval never misses the mean of all rows.
    """

    def __init__(self, total: int, *, low: float, high: float, confidence: float) -> None:
        self._total = total
        self._low = low
        self._high = high
        self._risk = (1 - confidence) / 2  # of each end
        self._values: list[float] = []

    def add(self, values: Iterable[float]) -> None:
        """Take in the scores of further rows, in the order in which they came.

        Raises:
            ConfigurationError: a score is not between the bounds, so that no interval holds.
            InternalError: there are more scores than rows.
        """
        for value in map(float, values):
            if not self._low <= value <= self._high:
                raise ConfigurationError(
                    f"A score is {value:g}, which is not between {self._low:g} and {self._high:g}.",
                    fix="Take early_stop out of the gate, or the bounds are not those of its"
                    " metric.",
                )
            self._values.append(value)
        if len(self._values) > self._total:
            raise InternalError(f"More than the {self._total} scores of an evaluation came.")

    @property
    def interval(self) -> tuple[float, float]:
        """Where the mean of all rows is: both ends belong to it.

        It is the exact mean once all rows are there. An interval that would be empty says that the
        rows came in no random order, or that chance was against it; then it is what is possible.
        """
        lowest, highest = self._possible()
        width = self._high - self._low
        scores = (np.array(self._values) - self._low) / width
        low = max(lowest, self._low + width * _lower_end(scores, self._total, self._risk))
        high = min(highest, self._high - width * _lower_end(1 - scores, self._total, self._risk))
        return (low, high) if low <= high else (lowest, highest)

    def _possible(self) -> tuple[float, float]:
        """The mean if every row to come had the lowest score, and the highest."""
        seen, to_come = math.fsum(self._values), self._total - len(self._values)
        return (
            (seen + to_come * self._low) / self._total,
            (seen + to_come * self._high) / self._total,
        )


def _lower_end(scores: NDArray[np.float64], total: int, risk: float) -> float:
    """The highest mean that is too low for these scores, all between 0 and 1; 0 if none is."""
    before = np.cumsum(scores) - scores
    to_come = total - np.arange(len(scores))
    excluded, kept = 0.0, 1.0
    # A claim that is excluded takes all lower ones with it: players win more against those.
    for _ in range(_HALVINGS):
        claim = (excluded + kept) / 2
        if _best(scores, (total * claim - before) / to_come) >= 1 / risk:
            excluded = claim
        else:
            kept = claim
    return excluded


def _best(scores: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """What the players had together when they had most, from 1.

    Args:
        expected: of each score, if the claim is true, given those before it.
    """
    with np.errstate(over="ignore"):
        # A claim that is impossible by now makes anyone rich.
        gains = scores / np.maximum(expected, np.finfo(float).tiny) - 1
        wealth = np.cumprod(1 + _STAKES * gains, axis=1).mean(axis=0)
    return float(wealth.max(initial=1.0))
