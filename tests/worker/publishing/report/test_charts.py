import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.thresholds import AtLeast, AtMost, BetterThan, NoWorseThan, Threshold
from schemas.verdicts import Check, Comparison, Timings
from worker.publishing.report.charts import Bar, Scale, check_axis, segments

_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_ROUNDED = 0.01  # percent of the width


@given(st.lists(_NUMBERS, min_size=1), st.floats(0, 1))
def test_every_value_has_a_position_within_the_chart(values: list[float], room: float) -> None:
    scale = Scale.over(values, room=room)
    positions = [scale.at(value) for value in sorted(values)]
    assert positions == sorted(positions)
    assert all(0 <= position <= 100 for position in positions)
    for value in values:
        bar = scale.bar(value)
        assert 0 <= bar.start <= bar.start + bar.width <= 100 + _ROUNDED


@given(_NUMBERS, _NUMBERS)
def test_a_passing_value_is_drawn_in_the_passing_zone(bound: float, value: float) -> None:
    for threshold in (AtLeast(metric="m", at_least=bound), AtMost(metric="m", at_most=bound)):
        axis = check_axis(Check(threshold=threshold, value=value, passed=threshold.holds(value)))
        assert axis is not None
        assert axis.value_at is not None
        gap = axis.value_at - axis.bound_at
        assert gap == 0 or (gap > 0) == (value >= bound)
        assert axis.upwards == isinstance(threshold, AtLeast)


@pytest.mark.parametrize(
    ("threshold", "bound", "upwards"),
    [
        (NoWorseThan(metric="score.mean", no_worse_than="champion", margin=0.02), -0.02, True),
        (BetterThan(metric="score.mean", better_than="champion", margin=0.02), 0.02, True),
        (NoWorseThan(metric="cost.total", no_worse_than="champion", margin=0.02), 0.02, False),
        (BetterThan(metric="cost.total", better_than="champion", margin=0.02), -0.02, False),
    ],
)
def test_the_bound_of_a_difference_is_the_margin_on_its_side_of_zero(
    threshold: Threshold, bound: float, upwards: bool
) -> None:
    check = Check(threshold=threshold, value=0.5, passed=True, comparison=_comparison(-0.1, 0.3))
    axis = check_axis(check)
    assert axis is not None
    assert (axis.bound, axis.upwards) == (bound, upwards)
    assert (axis.bound_at > axis.zero_at) == (bound > 0)
    assert axis.interval_at is not None
    low, high = axis.interval_at
    assert axis.value_at is not None
    assert 20 < low < axis.value_at < high < 80  # room for the numbers


def test_without_a_champion_there_is_no_axis() -> None:
    threshold = BetterThan(metric="score.mean", better_than="champion")
    assert check_axis(Check(threshold=threshold, value=0.5, passed=True)) is None


def test_a_missing_value_has_no_position() -> None:
    axis = check_axis(Check(threshold=AtMost(metric="m", at_most=2), value=None, passed=False))
    assert axis is not None
    assert axis.value_at is None


def test_steps_are_stacked_and_those_that_did_not_run_are_left_out() -> None:
    stacked = segments(Timings(download=1, evaluate=3))
    assert [(part.step, part.share, part.bar) for part in stacked] == [
        ("download", 0.25, Bar(0, 25)),
        ("evaluate", 0.75, Bar(25, 75)),
    ]
    assert segments(Timings()) == []


def _comparison(low: float, high: float) -> Comparison:
    return Comparison(
        champion=0.4,
        difference=(low + high) / 2,
        interval=(low, high),
        confidence=0.95,
        method="paired bootstrap",
        detectable=0.1,
        rows=66,
    )
