"""The differences between two versions, row by row, in the units that chance drew."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-12  # of the largest sum: what is nearer than this is equal


class TooFewRowsError(ValueError):
    """One row or one cluster alone does not show how much chance there is: no verdict."""


class Differences(NamedTuple):
    """Candidate less champion. A unit is a row, or a cluster of rows that belong together.

    Attributes:
        sums: of the differences in each unit.
        sizes: number of rows in each unit.
        unit: what a unit is called.
    """

    sums: NDArray[np.float64]
    sizes: NDArray[np.float64]
    unit: Literal["row", "cluster"]

    @property
    def mean(self) -> float:
        """The mean difference of a row."""
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def residuals(self) -> NDArray[np.float64]:
        """How far each unit's sum is from what the mean has it be."""
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
    """Pair the rows and put those of a cluster together.

    Args:
        candidate: one number per row; a yes is 1.
        champion: of the same rows, in the same order.
        clusters: one label per row; rows with the same label belong together.

    Returns:
        The units in an order of their own, so that the order of the rows does not matter.

    Raises:
        TooFewRowsError: there are not two units.
        ValueError: the numbers of rows are not the same.
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
