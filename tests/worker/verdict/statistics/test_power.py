from math import sqrt
from statistics import stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.verdict.statistics import TooFewRowsError, detectable_difference, paired_interval

_QUANTILES = 1.959964 + 0.841621  # of 97.5 % and 80 %
_SCORES = st.integers(0, 8).map(lambda eighths: eighths / 8)
_PAIRS = st.lists(st.tuples(_SCORES, _SCORES), min_size=2, max_size=40)


def _detectable(pairs: list[tuple[float, float]], clusters: list[int] | None = None) -> float:
    candidate, champion = zip(*pairs, strict=True)
    return detectable_difference(candidate, champion, confidence=0.95, clusters=clusters)


def test_a_difference_of_this_size_is_shown_four_times_in_five() -> None:
    noise = np.random.default_rng(7).normal(0, 0.2, (500, 200))
    none = np.zeros(200)
    stated = np.mean([detectable_difference(row, none, confidence=0.95) for row in noise])
    shown = [
        paired_interval(stated + row, none, confidence=0.95, resamples=999).low > 0 for row in noise
    ]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.05)


@given(_PAIRS)
def test_it_is_the_textbooks_formula(pairs: list[tuple[float, float]]) -> None:
    error = stdev(new - old for new, old in pairs) / sqrt(len(pairs))
    assert _detectable(pairs) == pytest.approx(_QUANTILES * (error or 1 / len(pairs)), rel=1e-6)


@given(_PAIRS)
def test_who_is_called_the_candidate_does_not_matter(pairs: list[tuple[float, float]]) -> None:
    assert _detectable([(old, new) for new, old in pairs]) == pytest.approx(_detectable(pairs))


@given(_PAIRS)
def test_a_row_that_is_told_twice_shows_no_more(pairs: list[tuple[float, float]]) -> None:
    clusters = [*range(len(pairs))]
    assert _detectable(pairs * 2, clusters * 2) == pytest.approx(_detectable(pairs))


def test_more_power_or_confidence_takes_a_larger_difference() -> None:
    scores = [1, 0, 1, 1], [0, 0, 1, 0]
    usual = detectable_difference(*scores, confidence=0.95)
    assert detectable_difference(*scores, confidence=0.99) > usual
    assert detectable_difference(*scores, confidence=0.95, power=0.9) > usual


@pytest.mark.parametrize("rows", [2, 66, 1_000])
def test_rows_that_all_agree_show_about_what_the_rule_of_three_says(rows: int) -> None:
    found = detectable_difference([1] * rows, [1] * rows, confidence=0.95)
    assert found == pytest.approx(2.8 / rows, rel=0.01)


def test_rows_that_all_agree_show_less_on_a_larger_scale() -> None:
    found = detectable_difference([5, 3], [5, 3], confidence=0.95)
    assert found == pytest.approx(5 * _QUANTILES / 2)


def test_one_cluster_shows_nothing() -> None:
    with pytest.raises(TooFewRowsError):
        detectable_difference([1, 0], [0, 0], confidence=0.95, clusters=["sea", "sea"])
