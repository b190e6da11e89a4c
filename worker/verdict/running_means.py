"""What an evaluation has measured so far, for whoever watches it; nothing is weighed by it."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from worker.verdict.row_metrics import STATISTICS


class RunningMeans:
    """The means of a gate's metrics over the rows so far; a slice counts as the whole.

    Args:
        metrics: dotted paths into the summary; one that is no mean over rows is never told.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        parts = {metric: metric.rpartition(".") for metric in metrics}
        self._paths = {one: path for one, (path, _, kind) in parts.items() if kind in STATISTICS}
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()

    def add(self, scores: Mapping[str, float]) -> None:
        """Take a row's scores in; what is missing or no number is left out."""
        for metric, path in self._paths.items():
            if math.isfinite(score := scores.get(path, math.nan)):
                self._sums[metric] += score
                self._counts[metric] += 1

    @property
    def values(self) -> dict[str, float]:
        """The means so far, of what has been measured at least once."""
        return {metric: self._sums[metric] / count for metric, count in self._counts.items()}
