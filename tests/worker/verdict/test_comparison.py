"""A version beside the champion, on the same rows."""

from collections.abc import Sequence
from typing import Any

import pytest

from schemas.errors import ConfigurationError, EvidenceError
from schemas.thresholds import BetterThan, NoWorseThan, RelativeThreshold
from tests.worker.measured import rows
from worker.verdict.comparison import compare, holds

_MANY = 60


def _no_worse(metric: str = "f1.mean", **more: Any) -> NoWorseThan:
    return NoWorseThan.model_validate({"metric": metric, "no_worse_than": "champion", **more})


def _better(metric: str = "f1.mean", **more: Any) -> BetterThan:
    return BetterThan.model_validate({"metric": metric, "better_than": "champion", **more})


def _f1(*cycle: float) -> list[float]:
    return [cycle[place % len(cycle)] for place in range(_MANY)]


def _passes(
    threshold: RelativeThreshold, ours: Sequence[bool | float], theirs: Sequence[Any]
) -> bool:
    name = threshold.metric.rpartition(".")[0]
    return holds(threshold, compare(threshold, rows({name: ours}), rows({name: theirs})))


def test_the_same_answers_are_no_worse_and_no_better() -> None:
    same = _f1(0.2, 0.9, 0.5)
    assert _passes(_no_worse(), same, same)
    assert not _passes(_better(), same, same)


def test_a_clear_gain_is_better_and_a_clear_loss_is_worse() -> None:
    low, high = _f1(0.2, 0.4, 0.3), _f1(0.6, 0.9, 0.7)
    assert _passes(_better(), high, low)
    assert not _passes(_no_worse(margin=0.1), low, high)


def test_a_point_score_within_the_margin_is_not_enough() -> None:
    """The mean falls by 0.01 only, but these rows say it might be much more."""
    ours, theirs = _f1(1.0, 0.0, 0.49, 0.49), _f1(0.0, 1.0, 0.5, 0.52)
    comparison = compare(_no_worse(margin=0.02), rows({"f1": ours}), rows({"f1": theirs}))
    assert comparison.difference == pytest.approx(-0.01)
    assert comparison.interval[0] < -0.02
    assert not holds(_no_worse(margin=0.02), comparison)


def test_less_is_better_of_a_latency_and_of_whatever_the_gate_says() -> None:
    slow, fast = _f1(2.0, 2.5), _f1(1.0, 1.5)
    assert _passes(_better("model_latency.mean"), fast, slow)
    assert not _passes(_no_worse("model_latency.mean"), slow, fast)
    assert _passes(_better("toxicity.mean", lower_is_better=True), fast, slow)


def test_yes_or_no_is_better_by_mcnemars_test() -> None:
    theirs = [False] * 20
    for gained, passes in ((5, False), (6, True)):  # two-sided p is 0.0625 and 0.03125
        ours = [place < gained for place in range(20)]
        comparison = compare(
            _better("right.true_fraction"), rows({"right": ours}), rows({"right": theirs})
        )
        assert comparison.p_value == 2 * 0.5**gained
        assert holds(_better("right.true_fraction"), comparison) == passes


def test_a_comparison_describes_itself() -> None:
    ours, theirs = _f1(0.5, 0.7, 0.9), _f1(0.5, 0.6, 0.9)
    comparison = compare(_no_worse(), rows({"f1": ours}), rows({"f1": theirs}))
    assert (comparison.rows, comparison.clusters, comparison.p_value) == (_MANY, None, None)
    assert comparison.champion == pytest.approx(2 / 3)
    assert "BCa" in comparison.method
    assert 0 < comparison.detectable < 0.1


def test_trials_of_a_row_count_once() -> None:
    once, champion = rows({"f1": _f1(0.5, 0.7)}), rows({"f1": _f1(0.4, 0.7)})
    twice = [*once, *(row.model_copy(update={"call": "again"}) for row in once)]
    assert compare(_no_worse(), twice, champion) == compare(_no_worse(), once, champion)


def test_rows_of_a_cluster_stand_together() -> None:
    columns = [{"document": place // 6} for place in range(_MANY)]
    ours = rows({"f1": [float(place // 6 % 2) for place in range(_MANY)]}, columns)
    theirs = rows({"f1": _f1(0.5)}, columns)
    alone = compare(_no_worse(), ours, theirs)
    together = compare(_no_worse(cluster="document"), ours, theirs)
    assert together.clusters == 10
    assert together.interval[0] < alone.interval[0]
    assert together.detectable > alone.detectable


def test_a_slice_is_compared_alone() -> None:
    columns = [{"topic": "sea" if place < 30 else "ice"} for place in range(_MANY)]
    ours = rows({"f1": [0.9] * 30 + [0.1] * 30}, columns)
    theirs = rows({"f1": [0.5] * 60}, columns)
    sea = compare(_no_worse(slice={"topic": "sea"}), ours, theirs)
    assert sea.rows == 30
    assert sea.difference == pytest.approx(0.4)


def test_the_order_of_rows_does_not_matter() -> None:
    ours, theirs = rows({"f1": _f1(0.1, 0.7, 0.3)}), rows({"f1": _f1(0.4, 0.5)})
    assert compare(_no_worse(), ours[::-1], theirs) == compare(_no_worse(), ours, theirs)


def test_a_row_without_the_champion_is_an_evidence_error() -> None:
    ours = rows({"f1": _f1(0.5)})
    with pytest.raises(EvidenceError, match="not evaluated on 1 of the 60 rows"):
        compare(_no_worse(), ours, ours[1:])


def test_what_is_no_mean_over_rows_cannot_be_compared() -> None:
    ours = rows({"f1": _f1(0.5)})
    with pytest.raises(ConfigurationError, match=r"latency\.p95 is no mean over rows"):
        compare(_no_worse("latency.p95"), ours, ours)
