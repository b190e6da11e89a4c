"""The differences between two versions, per row or per cluster of rows."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-12  # relative to the largest sum: smaller deviations are rounding errors


class TooFewRowsError(ValueError):
    """A single row or cluster shows no spread, so it allows no verdict."""


class Differences(NamedTuple):
    """Candidate minus champion. A unit is a row, or a cluster of rows that belong together.

    Attributes:
        sums: Sum of the differences in each unit, shape (units,).
        sizes: Number of rows in each unit, shape (units,).
        unit: Name of a unit.
    """

    sums: NDArray[np.float64]
    sizes: NDArray[np.float64]
    unit: Literal["row", "cluster"]

    @property
    def mean(self) -> float:
        """The mean difference per row."""
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def residuals(self) -> NDArray[np.float64]:
        """Each unit's sum minus the sum that the mean predicts."""
        return self.sums - self.mean * self.sizes

    @property
    def uniform(self) -> bool:
        """Whether every unit differs by the same amount."""
        return bool(np.abs(self.residuals).max() <= _ROUNDING * np.abs(self.sums).max())


def differences(
    candidate: Iterable[float],
    champion: Iterable[float],
    clusters: Iterable[Hashable] | None = None,
) -> Differences:
    """Pair the rows and group them by cluster.

    Args:
        candidate: One number per row; a yes is 1.
        champion: Numbers of the same rows, in the same order.
        clusters: One label per row; rows with the same label belong together.

    Returns:
        The units, sorted, so that the order of the rows does not matter.

    Raises:
        TooFewRowsError: There are fewer than two units.
        ValueError: The numbers of rows differ.
    """
    pairs = [float(new) - float(old) for new, old in zip(candidate, champion, strict=True)]
    grouped: defaultdict[Hashable, list[float]] = defaultdict(list)
    for label, pair in zip(range(len(pairs)) if clusters is None else clusters, pairs, strict=True):
        grouped[label].append(pair)
    unit: Literal["row", "cluster"] = "row" if clusters is None else "cluster"
    if len(grouped) < 2:
        raise TooFewRowsError(f"Fewer than two {unit}s give no interval: weigh more of them.")
    units = sorted((math.fsum(members), len(members)) for members in grouped.values())
    sums, sizes = np.array(units, dtype=np.float64).T
    return Differences(sums, sizes, unit)
