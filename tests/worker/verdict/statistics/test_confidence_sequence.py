import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, InternalError
from worker.verdict.statistics import ConfidenceSequence

_SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=60)


def _seen(
    values: list[float], total: int, *, low: float = 0, high: float = 1
) -> ConfidenceSequence:
    sequence = ConfidenceSequence(total, low=low, high=high, confidence=0.95)
    sequence.add(values)
    return sequence


def _richest(values: list[float], total: int, claim: float) -> float:
    """What the players on high scores have at most, by the paper's formulas, one row at a time."""
    capital, most, before = [1.0] * 5, 1.0, 0.0
    for number, value in enumerate(values):
        expected = (total * claim - before) / (total - number)
        stakes = [share / 6 / expected for share in range(1, 6)]
        capital = [
            had * (1 + stake * (value - expected))
            for had, stake in zip(capital, stakes, strict=True)
        ]
        most = max(most, sum(capital) / 5)
        before += value
    return most


def test_before_the_first_row_everything_is_possible() -> None:
    assert _seen([], 66, low=-1, high=1).interval == (-1, 1)


@given(_SCORES)
def test_the_end_is_the_exact_mean(values: list[float]) -> None:
    mean = math.fsum(values) / len(values)
    assert _seen(values, len(values)).interval == (mean, mean)


@given(_SCORES, st.integers(0, 60))
def test_the_interval_stays_within_what_is_possible(values: list[float], more: int) -> None:
    low, high = _seen(values, len(values) + more).interval
    total = len(values) + more
    assert math.fsum(values) / total <= low <= high <= (math.fsum(values) + more) / total


@given(_SCORES, st.integers(1, 20))
def test_the_size_of_a_batch_does_not_matter(values: list[float], batch: int) -> None:
    sequence = ConfidenceSequence(80, low=0, high=1, confidence=0.95)
    for start in range(0, len(values), batch):
        sequence.add(values[start : start + batch])
    assert sequence.interval == _seen(values, 80).interval


@given(_SCORES)
def test_turning_the_scores_round_turns_the_interval_round(values: list[float]) -> None:
    low, high = _seen(values, 80).interval
    turned = _seen([1 - value for value in values], 80).interval
    assert turned == pytest.approx((1 - high, 1 - low), abs=1e-5)


@given(_SCORES)
def test_another_scale_stretches_the_interval(values: list[float]) -> None:
    low, high = _seen(values, 80).interval
    stretched = _seen([4 * value - 1 for value in values], 80, low=-1, high=3).interval
    assert stretched == pytest.approx((4 * low - 1, 4 * high - 1), abs=1e-4)


def test_an_interval_only_ever_narrows() -> None:
    scores = np.random.default_rng(8).beta(7, 3, 100)
    sequence = ConfidenceSequence(100, low=0, high=1, confidence=0.95)
    ends = [sequence.interval]
    for score in scores:
        sequence.add([score])
        ends.append(sequence.interval)
    lows, highs = np.array(ends).T
    assert (np.diff(lows) >= 0).all()
    assert (np.diff(highs) <= 0).all()
    assert highs[50] - lows[50] < 0.5


def test_the_lower_end_is_where_the_papers_capital_reaches_its_bound() -> None:
    scores = np.random.default_rng(9).beta(7, 3, 50).tolist()
    low, _ = _seen(scores, 100).interval
    assert low > math.fsum(scores) / 100
    assert _richest(scores, 100, low) >= 2 / 0.05 > _richest(scores, 100, low + 1e-5)


def test_the_mean_is_missed_at_any_look_as_seldom_as_stated() -> None:
    rng = np.random.default_rng(10)
    missed = 0
    for _ in range(300):
        scores = rng.permutation(np.repeat([0.0, 1.0], [12, 28]))
        sequence = ConfidenceSequence(40, low=0, high=1, confidence=0.8)
        looks = []
        for start in range(0, 40, 4):
            sequence.add(scores[start : start + 4])
            looks.append(sequence.interval)
        missed += not all(low <= 0.7 <= high for low, high in looks)
    assert 0 < missed / 300 <= 0.2


def test_rows_that_come_sorted_make_nothing_certain_but_what_is_possible() -> None:
    assert _seen([1.0] * 100 + [0.0] * 100, 400).interval == (0.25, 0.75)


@pytest.mark.parametrize("score", [1.01, -0.01, math.nan, math.inf])
def test_a_score_outside_the_bounds_is_refused(score: float) -> None:
    with pytest.raises(ConfigurationError, match="not between 0 and 1"):
        _seen([0.5, score], 66)


def test_more_scores_than_rows_are_refused() -> None:
    with pytest.raises(InternalError, match="More scores than the 2 rows"):
        _seen([0.5] * 3, 2)
