"""The risk and the savings of early stops, over simulated evaluations.

``python -m bench.early_stop [--streams N] [--json PATH]`` evaluates in batches and stops as a gate
does: as soon as both ends of the confidence sequence give the same verdict. The bound of each
evaluation is set near its mean, so that every evaluation is a hard case. It fails when wrong
verdicts are more frequent than the confidence allows.
"""

import json
import math
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from schemas.thresholds import AtLeast
from worker.verdict.statistics import ConfidenceSequence

_BATCH = 16
_CONFIDENCE = 0.95

Scores = NDArray[np.float64]


def _yes_or_no(rng: np.random.Generator, rows: int) -> Scores:
    return rng.binomial(1, 0.7, rows).astype(np.float64)


def _beta(rng: np.random.Generator, rows: int) -> Scores:
    return rng.beta(7, 3, rows)


def _token_f1(rng: np.random.Generator, rows: int) -> Scores:
    """Return scores of many right, some wrong and some partly right answers."""
    kind = rng.random(rows)
    return np.select([kind < 0.15, kind < 0.6], [0.0, 1.0], rng.beta(2, 2, rows))


_DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], Scores]] = {
    "yes or no": _yes_or_no,
    "beta": _beta,
    "token F1": _token_f1,
}
# The mean of all rows, less the bound.
_MARGINS = {"just below": -1e-6, "at": 0.0, "above": 0.1, "far below": -0.1}


class Figures(NamedTuple):
    """The results of the evaluations of one kind.

    Attributes:
        scores: The distribution of the scores.
        mean: The position of the mean of all rows relative to the bound.
        streams: The number of evaluations.
        wrong_promotions: Share that stopped as passed, though all rows were below the bound.
        wrong_rejections: Share that stopped as failed, though all rows were not below the bound.
        rows_saved: Average share of the rows that were not evaluated.
    """

    scores: str
    mean: str
    streams: int
    wrong_promotions: float
    wrong_rejections: float
    rows_saved: float


def simulate(case: tuple[str, str], *, streams: int, rows: int) -> Figures:
    """Stop many evaluations of one kind early, and count wrong verdicts and saved rows.

    Args:
        case: The distribution of the scores, and the position of their mean.
        streams: The number of evaluations.
        rows: The number of rows of each.
    """
    distribution, position = case
    rng = np.random.default_rng(
        [*_DISTRIBUTIONS].index(distribution) * len(_MARGINS) + [*_MARGINS].index(position)
    )
    verdicts, used = [], 0
    for _ in range(streams):
        scores = _DISTRIBUTIONS[distribution](rng, rows)
        bound = AtLeast(metric="score", at_least=math.fsum(scores) / rows - _MARGINS[position])
        verdict, evaluated = _stop_early(scores, bound)
        verdicts.append(verdict)
        used += evaluated
    wrong = verdicts.count(_MARGINS[position] < 0) / streams
    promotions, rejections = (wrong, 0.0) if _MARGINS[position] < 0 else (0.0, wrong)
    return Figures(
        distribution, position, streams, promotions, rejections, 1 - used / (streams * rows)
    )


def _stop_early(scores: Scores, bound: AtLeast) -> tuple[bool | None, int]:
    """Return the verdict, None if it was not certain before the end, and the evaluated rows."""
    sequence = ConfidenceSequence(len(scores), low=0, high=1, confidence=_CONFIDENCE)
    for start in range(0, len(scores) - _BATCH, _BATCH):
        sequence.add(scores[start : start + _BATCH])
        low, high = map(bound.holds, sequence.interval)
        if low == high:
            return low, start + _BATCH
    return None, len(scores)


@click.command()
@click.option("--streams", default=10_000, show_default=True, help="Evaluations of each kind.")
@click.option("--rows", default=66, show_default=True, help="Rows of each evaluation.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures there.")
def main(streams: int, rows: int, path: Path | None) -> None:
    """Simulate early stops. Takes about three minutes on two cores."""
    with ProcessPoolExecutor() as pool:
        cases = product(_DISTRIBUTIONS, _MARGINS)
        measured = list(pool.map(partial(simulate, streams=streams, rows=rows), cases))
    print(
        f"{'scores':10} {'mean':11} {'promoted wrongly':>16} {'rejected wrongly':>16} {'saved':>6}"
    )
    for one in measured:
        wrong = f"{one.wrong_promotions:16.2%} {one.wrong_rejections:16.2%}"
        print(f"{one.scores:10} {one.mean:11} {wrong} {one.rows_saved:6.1%}")
    if path:
        path.write_text(json.dumps([one._asdict() for one in measured], indent=2) + "\n")
    worst = max(max(one.wrong_promotions, one.wrong_rejections) for one in measured)
    allowed = 1 - _CONFIDENCE
    print(f"most wrong verdicts of a kind: {worst:.2%}, allowed {allowed:.2%}")
    sys.exit(1 if worst > allowed else 0)


if __name__ == "__main__":
    main()
