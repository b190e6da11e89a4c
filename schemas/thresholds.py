"""Thresholds: what a metric must reach, by itself or compared with the champion.

A new kind is a class here that says what ``bound``, ``sign`` and ``holds`` are, with its name in
``KINDS`` and in ``Threshold``. Checks, early stops, the report and the leaderboard work by these.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

# Strict, because YAML's `yes` would else be 1.
Bound = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Bound, Field(gt=0)]
Confidence = Annotated[Bound, Field(ge=0.5, lt=1)]
Sign = Literal[1, -1]

# Less of these is better; of every other metric, more.
_COSTS = ("model_latency", "latency", "usage", "cost")


class _Threshold(BaseModel):
    """The fields that every kind of threshold has.

    Attributes:
        metric: Dotted path into the evaluation's summary, as in ``answer_correctness.mean``.
        slice: Only rows whose dataset columns have these values count, as in
            ``{topic: sea-level}``.
        min_rows: No verdict is reached on fewer rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str = Field(min_length=1)
    slice: dict[str, str | int | float | bool] = {}
    min_rows: int | None = Field(default=None, ge=1, strict=True)

    @property
    @abstractmethod
    def bound(self) -> float:
        """Where values, or differences from the champion, begin to pass."""

    @property
    @abstractmethod
    def sign(self) -> Sign:
        """1 where higher values pass, else -1."""

    @abstractmethod
    def holds(self, value: float, /) -> bool:
        """Whether a value, or a gain over the champion, passes."""

    @property
    def label(self) -> str:
        """The metric, with the slice it is measured on."""
        only = ", ".join(f"{column}={value}" for column, value in self.slice.items())
        return f"{self.metric} [{only}]" if only else self.metric

    def covers(self, columns: Mapping[str, Any]) -> bool:
        """Whether a dataset row with these columns is in the slice."""
        return all(columns.get(name) == value for name, value in self.slice.items())


class AtLeast(_Threshold):
    """The metric must not be below the bound."""

    at_least: Bound

    @property
    def bound(self) -> float:
        """The lowest value that passes."""
        return self.at_least

    @property
    def sign(self) -> Sign:
        """Higher values pass."""
        return 1

    def holds(self, value: float, /) -> bool:
        """Whether the value is within the bound."""
        return value >= self.at_least

    def __str__(self) -> str:
        return f">= {self.at_least:g}"


class AtMost(_Threshold):
    """The metric must not be above the bound."""

    at_most: Bound

    @property
    def bound(self) -> float:
        """The highest value that passes."""
        return self.at_most

    @property
    def sign(self) -> Sign:
        """Lower values pass."""
        return -1

    def holds(self, value: float, /) -> bool:
        """Whether the value is within the bound."""
        return value <= self.at_most

    def __str__(self) -> str:
        return f"<= {self.at_most:g}"


class RelativeThreshold(_Threshold):
    """The metric is compared with the champion's, row by row.

    Attributes:
        margin: A difference that does not matter, in the metric's unit.
        confidence: Confidence of the two-sided interval for the difference.
        lower_is_better: By default true of latencies, usage and cost, false of everything else.
        detectable: No verdict is reached when these rows could not have shown a difference as
            small as this.
        cluster: Dataset column whose equal values belong together; such rows are drawn together
            when the interval is made.
    """

    margin: Annotated[Bound, Field(ge=0)] = 0.0
    confidence: Confidence = 0.95
    lower_is_better: bool | None = None
    detectable: Positive | None = None
    cluster: str | None = None

    @property
    def sign(self) -> Sign:
        """1 where more is better, else -1."""
        lower = self.lower_is_better
        if lower is None:
            lower = self.metric.partition(".")[0] in _COSTS
        return -1 if lower else 1

    @property
    def uses_exact_test(self) -> bool:
        """Whether McNemar's exact test decides where every score is a yes or no."""
        return False


class NoWorseThan(RelativeThreshold):
    """With this confidence the version is worse than the champion by the margin at most."""

    no_worse_than: Literal["champion"]

    @property
    def bound(self) -> float:
        """The worst difference that passes: the version's value less the champion's."""
        return self.sign * -self.margin

    def holds(self, low: float, /) -> bool:
        """Whether the lower end of the interval for the gain is within the margin."""
        return low >= -self.margin

    def __str__(self) -> str:
        within = f" by {self.margin:g}" if self.margin else ""
        return f"no worse than champion{within} ({self.confidence:.0%})"


class BetterThan(RelativeThreshold):
    """With this confidence the version is better than the champion by more than the margin."""

    better_than: Literal["champion"]

    @property
    def bound(self) -> float:
        """The difference that must be exceeded: the version's value less the champion's."""
        return self.sign * self.margin

    @property
    def uses_exact_test(self) -> bool:
        """Whether any gain at all is enough: the exact test has no margin."""
        return not self.margin

    def holds(self, low: float, /) -> bool:
        """Whether the lower end of the interval for the gain is above the margin."""
        return low > self.margin

    def __str__(self) -> str:
        by = f" by {self.margin:g}" if self.margin else ""
        return f"better than champion{by} ({self.confidence:.0%})"


KINDS = ("at_least", "at_most", "no_worse_than", "better_than")


def _kind(threshold: Any) -> str | None:
    """The kind of a threshold: the one bound that it names."""
    if isinstance(threshold, BaseModel):
        threshold = threshold.model_dump()
    named = [kind for kind in KINDS if isinstance(threshold, dict) and kind in threshold]
    return named[0] if len(named) == 1 else None


Threshold = Annotated[
    Annotated[AtLeast, Tag("at_least")]
    | Annotated[AtMost, Tag("at_most")]
    | Annotated[NoWorseThan, Tag("no_worse_than")]
    | Annotated[BetterThan, Tag("better_than")],
    Discriminator(
        _kind,
        custom_error_type="threshold_kind",
        custom_error_message=f"a threshold names one bound: {', '.join(KINDS[:-1])} or {KINDS[-1]}",
    ),
]
