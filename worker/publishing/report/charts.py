"""Positions in the charts, in percent of the width, so that they fit any screen."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from schemas.thresholds import RelativeThreshold, Threshold
from schemas.verdicts import Check, Comparison, Timings
from worker.publishing.report.topics import TopicMeans

# Room on both sides, as a share of the range of the values.
_EDGE = 0.12  # keeps the passing zone visible
_LABELS = 0.35  # holds the numbers beside an interval


@dataclass(frozen=True)
class Scale:
    """Maps values to positions in a chart.

    Attributes:
        unit: The values are divided by it first, so that huge ones do not overflow.
        low: The left end, in units.
        high: The right end, in units.
    """

    unit: float
    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float], room: float = 0.0) -> Self:
        """Make a scale that includes all the values, and zero."""
        values = (0.0, *values)
        unit = max(map(abs, values)) or 1.0
        low, high = min(values) / unit, max(values) / unit
        free = room * (high - low) or (0.5 if low == high else 0.0)
        return cls(unit, low - free, high + free)

    def at(self, value: float) -> float:
        """Return the value's position."""
        return round(100 * (value / self.unit - self.low) / (self.high - self.low), 2)

    def bar(self, value: float) -> "Bar":
        """Return a bar from zero to the value."""
        start, end = sorted((self.at(0.0), self.at(value)))
        return Bar(start, round(end - start, 2))


@dataclass(frozen=True)
class Bar:
    """A horizontal bar.

    Attributes:
        start: Position of its left end.
        width: Its length.
    """

    start: float
    width: float


@dataclass(frozen=True)
class CheckAxis:
    """A check on an axis: its bound, its passing zone, and the measured value.

    Attributes:
        bound: The value, or the whole interval, must not cross it.
        bound_at: Position of the bound.
        upwards: Whether the passing zone is to the right of the bound.
        zero_at: Position of zero.
        value_at: Position of the measured value; None if it is missing.
        interval_at: Positions of the interval's ends, if the value is a difference.
    """

    bound: float
    bound_at: float
    upwards: bool
    zero_at: float
    value_at: float | None
    interval_at: tuple[float, float] | None = None


def check_axis(check: Check) -> CheckAxis | None:
    """Return the check on an axis, or None if there was no champion to compare with."""
    if not isinstance(check.threshold, RelativeThreshold):
        return _value_axis(check.threshold, check.value)
    return _difference_axis(check.threshold, check.comparison) if check.comparison else None


def _value_axis(threshold: Threshold, value: float | None) -> CheckAxis:
    bound = threshold.bound
    shown = bound if value is None else value
    is_share = 0 <= bound <= 1 and 0 <= shown <= 1
    scale = Scale.over((bound, shown, 1.0 if is_share else bound), room=_EDGE)
    return CheckAxis(
        bound=bound,
        bound_at=scale.at(bound),
        upwards=threshold.sign > 0,
        zero_at=scale.at(0.0),
        value_at=None if value is None else scale.at(value),
    )


def _difference_axis(threshold: RelativeThreshold, found: Comparison) -> CheckAxis:
    bound = threshold.bound
    low, high = found.interval
    scale = Scale.over((bound, low, high, found.difference), room=_LABELS)
    return CheckAxis(
        bound=bound,
        bound_at=scale.at(bound),
        upwards=threshold.sign > 0,
        zero_at=scale.at(0.0),
        value_at=scale.at(found.difference),
        interval_at=(scale.at(low), scale.at(high)),
    )


def means_scale(topics: Iterable[TopicMeans]) -> Scale:
    """Return one scale for the means of all topics; most scores range from 0 to 1."""
    means = (mean for topic in topics for mean in (topic.version, topic.champion))
    return Scale.over([1.0, *(mean for mean in means if mean is not None)])


@dataclass(frozen=True)
class Segment:
    """A step's part of the total time.

    Attributes:
        share: The part, 0 to 1.
    """

    step: str
    seconds: float
    share: float
    bar: Bar


def segments(timings: Timings) -> list[Segment]:
    """Return the steps that ran, side by side in their order."""
    ran = [(step, seconds) for step, seconds in timings if seconds > 0]
    total = sum(seconds for _, seconds in ran)
    stacked, start = [], 0.0
    for step, seconds in ran:
        share = seconds / total
        stacked.append(Segment(step, seconds, share, Bar(round(start, 2), round(100 * share, 2))))
        start += 100 * share
    return stacked
