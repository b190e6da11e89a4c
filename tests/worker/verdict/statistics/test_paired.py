from collections.abc import Iterable
from random import Random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap

from worker.verdict.statistics import PairedInterval, TooFewRowsError, paired_interval

_TRIALS = 1_000
_QUICK = 999  # resamples: enough for a test of many intervals

# Eighths, so that sums are exact and an order of addition changes nothing.
_SCORES = st.integers(0, 8).map(lambda eighths: eighths / 8)
_PAIRS = st.lists(st.tuples(_SCORES, _SCORES), min_size=2, max_size=40)
Pairs = list[tuple[float, float]]


def _interval(pairs: Pairs, clusters: Iterable[int] | None = None) -> PairedInterval:
    candidate, champion = zip(*pairs, strict=True)
    return paired_interval(candidate, champion, confidence=0.9, clusters=clusters, resamples=_QUICK)


def _token_f1(rng: np.random.Generator, rows: int) -> NDArray[np.float64]:
    """Some answers are wrong, many are right, others are between; the mean is 0.6."""
    kind = rng.random(rows)
    return np.select([kind < 0.2, kind < 0.6], [0.0, 1.0], rng.beta(2, 2, rows))


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_covers_the_true_difference_as_often_as_it_says(confidence: float) -> None:
    """On 200 rows, where BCa falls about half a point short."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(_TRIALS):
        champion = rng.binomial(1, 0.3, 200)
        changed = rng.random(200) < 0.3
        candidate = np.where(changed, _token_f1(rng, 200), champion)
        found = paired_interval(candidate, champion, confidence=confidence, resamples=_QUICK)
        covered += found.low <= 0.3 * (0.6 - 0.3) <= found.high
    assert abs(covered / _TRIALS - confidence) <= 0.02


def test_the_interval_over_clusters_covers_where_one_over_rows_does_not() -> None:
    """On 80 clusters of 1 to 7 rows that go up or down together."""
    rng = np.random.default_rng(5)
    covered = {"clusters": 0, "rows": 0}
    for _ in range(_TRIALS):
        labels = np.repeat(np.arange(80), rng.integers(1, 8, 80))
        shifts = rng.normal(0, 1, 80)[labels] + rng.normal(0, 0.5, len(labels))
        for kind, clusters in (("clusters", labels), ("rows", None)):
            found = paired_interval(
                shifts, np.zeros(len(labels)), confidence=0.95, clusters=clusters, resamples=_QUICK
            )
            covered[kind] += found.low <= 0 <= found.high
    assert abs(covered["clusters"] / _TRIALS - 0.95) <= 0.02
    assert covered["rows"] / _TRIALS < 0.85


def test_the_interval_is_scipys_own() -> None:
    rng = np.random.default_rng(6)
    candidate, champion = rng.random(66), rng.random(66)
    found = paired_interval(candidate, champion, confidence=0.95)
    low, high = bootstrap(
        (np.sort(candidate - champion),), np.mean, rng=np.random.default_rng(0)
    ).confidence_interval
    assert found == pytest.approx((fmean(candidate - champion), low, high, found.method))
    assert found.method == "paired bootstrap of rows, BCa"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2), st.randoms())
def test_the_order_of_the_rows_does_not_matter(pairs: Pairs, random: Random) -> None:
    labels = [number % 7 for number in range(len(pairs))]
    places = random.sample(range(len(pairs)), len(pairs))
    shuffled, moved = [pairs[place] for place in places], [labels[place] for place in places]
    assert _interval(shuffled) == _interval(pairs)
    assert _interval(shuffled, moved) == _interval(pairs, labels)


@given(_PAIRS)
def test_the_difference_lies_within_its_interval(pairs: Pairs) -> None:
    found = _interval(pairs)
    assert found.low <= found.difference <= found.high
    assert found.difference == fmean(new - old for new, old in pairs)


@given(_PAIRS, st.integers(-8, 8))
def test_a_constant_gain_moves_the_interval_by_as_much(pairs: Pairs, gain: int) -> None:
    moved = _interval([(new + gain, old) for new, old in pairs])
    found = _interval(pairs)
    assert moved[:3] == pytest.approx([number + gain for number in found[:3]])


@given(_PAIRS)
def test_a_cluster_of_one_row_is_a_row(pairs: Pairs) -> None:
    assert _interval(pairs, range(len(pairs)))[:3] == _interval(pairs)[:3]


@given(_PAIRS)
def test_a_row_that_is_told_twice_makes_nothing_surer(pairs: Pairs) -> None:
    twice = _interval(pairs * 2, [*range(len(pairs))] * 2)
    assert twice[:3] == pytest.approx(_interval(pairs)[:3])


def test_rows_that_differ_alike_give_a_point_and_say_so() -> None:
    found = paired_interval([0.3, 0.4, 1.1], [0.1, 0.2, 0.9], confidence=0.95)
    assert found.low == found.high == found.difference == pytest.approx(0.2)
    assert found.method == "no spread: every row differs by the same amount"


def test_clusters_that_differ_alike_give_a_point_and_say_so() -> None:
    found = paired_interval([1, 0, 0.5], [0, 0, 0], confidence=0.95, clusters=["sea", "sea", "ice"])
    assert found == (0.5, 0.5, 0.5, "no spread: every cluster differs by the same amount")


def test_where_bca_has_no_answer_the_percentiles_stand_in() -> None:
    # So near to each other that their cubes are 0, from which BCa takes the skew.
    found = paired_interval([1e-120, 2e-120, 0], [0, 0, 0], confidence=0.95)
    assert found.method == "paired bootstrap of rows, percentile, because BCa has no answer here"
    assert 0 <= found.low < found.high <= 2e-120


@pytest.mark.parametrize("clusters", [None, ["sea"]])
def test_one_row_gives_no_interval(clusters: list[str] | None) -> None:
    with pytest.raises(TooFewRowsError, match=f"Fewer than two {'clusters' if clusters else 'r'}"):
        paired_interval([1], [0], confidence=0.95, clusters=clusters)


def test_no_row_gives_no_interval() -> None:
    with pytest.raises(TooFewRowsError):
        paired_interval([], [], confidence=0.95)


def test_rows_without_a_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="is shorter"):
        paired_interval([1, 0, 1], [1, 0], confidence=0.95)
