"""The metrics of an evaluation so far, for progress reports; no verdict depends on them."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from worker.verdict.row_metrics import STATISTICS


class RunningMeans:
    """The means of a gate's metrics over the rows so far, without regard to slices.

    Args:
        metrics: Dotted paths into the summary; one that is no mean over rows is left out.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        parts = {metric: metric.rpartition(".") for metric in metrics}
        self._paths = {one: path for one, (path, _, kind) in parts.items() if kind in STATISTICS}
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()

    def add(self, scores: Mapping[str, float]) -> None:
        """Add a row's scores; a missing or non-finite score is left out."""
        for metric, path in self._paths.items():
            if math.isfinite(score := scores.get(path, math.nan)):
                self._sums[metric] += score
                self._counts[metric] += 1

    @property
    def values(self) -> dict[str, float]:
        """The means so far of the metrics that at least one row has."""
        return {metric: self._sums[metric] / count for metric, count in self._counts.items()}
