"""Where the marks of the drawings lie, in per cent of the width: so they fit any screen."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from schemas.thresholds import RelativeThreshold, Threshold
from schemas.verdicts import Check, Comparison, Timings
from worker.publishing.report.topics import TopicMeans

# Room on both sides, as a share of what the values span.
_EDGE = 0.12  # lets the part that passes be seen
_LABELS = 0.35  # holds the numbers beside an interval


@dataclass(frozen=True)
class Scale:
    """Brings values into the width of a drawing.

    Attributes:
        unit: what the values are divided by first, so that huge ones do not overflow.
        low: left end, in units.
        high: right end, in units.
    """

    unit: float
    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float], room: float = 0.0) -> Self:
        """A scale that has all the values, and zero."""
        values = (0.0, *values)
        unit = max(map(abs, values)) or 1.0
        low, high = min(values) / unit, max(values) / unit
        free = room * (high - low) or (0.5 if low == high else 0.0)
        return cls(unit, low - free, high + free)

    def at(self, value: float) -> float:
        """The value's place."""
        return round(100 * (value / self.unit - self.low) / (self.high - self.low), 2)

    def bar(self, value: float) -> "Bar":
        """A bar from zero to the value."""
        start, end = sorted((self.at(0.0), self.at(value)))
        return Bar(start, round(end - start, 2))


@dataclass(frozen=True)
class Bar:
    """A bar that lies along the width.

    Attributes:
        start: place of its left end.
        width: its length.
    """

    start: float
    width: float


@dataclass(frozen=True)
class CheckAxis:
    """A check on an axis: its bound, the part where it holds, and what was measured.

    Attributes:
        bound: what the value, or the whole interval, must not cross.
        upwards: whether the check holds on the right of the bound.
        zero_at: place of zero.
        value_at: place of what was measured; None when that is missing.
        interval_at: places of the ends of its interval, if it is a difference.
    """

    bound: float
    bound_at: float
    upwards: bool
    zero_at: float
    value_at: float | None
    interval_at: tuple[float, float] | None = None


def check_axis(check: Check) -> CheckAxis | None:
    """The check on an axis; None when there was no champion to compare with."""
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
    """One scale for the means of all topics; scores mostly go from 0 to 1."""
    means = (mean for topic in topics for mean in (topic.version, topic.champion))
    return Scale.over([1.0, *(mean for mean in means if mean is not None)])


@dataclass(frozen=True)
class Segment:
    """The part of the whole time that a step took.

    Attributes:
        share: of the whole, 0 to 1.
    """

    step: str
    seconds: float
    share: float
    bar: Bar


def segments(timings: Timings) -> list[Segment]:
    """The steps that ran, side by side in their order."""
    ran = [(step, seconds) for step, seconds in timings if seconds > 0]
    total = sum(seconds for _, seconds in ran)
    drawn, start = [], 0.0
    for step, seconds in ran:
        share = seconds / total
        drawn.append(Segment(step, seconds, share, Bar(round(start, 2), round(100 * share, 2))))
        start += 100 * share
    return drawn
