"""What an early stop risks and what it saves, over simulated evaluations.

`python -m bench.early_stop [--streams N] [--json PATH]` evaluates in batches and stops as a gate
does: as soon as both ends of the confidence sequence give the same verdict. Each evaluation has a
bound of its own, beside its mean, so that the hardest case comes up every time. It fails when
wrong verdicts are more frequent than the confidence allows.
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
    """Many answers are wholly right, some wholly wrong, others share a few words with the truth."""
    kind = rng.random(rows)
    return np.select([kind < 0.15, kind < 0.6], [0.0, 1.0], rng.beta(2, 2, rows))


_KINDS: dict[str, Callable[[np.random.Generator, int], Scores]] = {
    "yes or no": _yes_or_no,
    "beta": _beta,
    "token F1": _token_f1,
}
# Where the mean of all rows is, less the bound.
_PLACES = {"just below": -1e-6, "at": 0.0, "above": 0.1, "far below": -0.1}


class Figures(NamedTuple):
    """What came of the evaluations of one kind.

    Attributes:
        scores: how they were distributed.
        mean: where the mean of all rows was, beside the bound.
        streams: evaluations.
        wrong_promotions: share that stopped as good enough, though the whole was below the bound.
        wrong_rejections: share that stopped as not good enough, though the whole was.
        rows_saved: average share of the rows.
    """

    scores: str
    mean: str
    streams: int
    wrong_promotions: float
    wrong_rejections: float
    rows_saved: float


def simulate(case: tuple[str, str], *, streams: int, rows: int) -> Figures:
    """Stop many evaluations of one kind early, and count.

    Args:
        case: kind of scores, and where their mean is.
        streams: evaluations.
        rows: of each.
    """
    kind, place = case
    rng = np.random.default_rng([*_KINDS].index(kind) * len(_PLACES) + [*_PLACES].index(place))
    verdicts, used = [], 0
    for _ in range(streams):
        scores = _KINDS[kind](rng, rows)
        bound = AtLeast(metric="score", at_least=math.fsum(scores) / rows - _PLACES[place])
        verdict, seen = _stopped(scores, bound)
        verdicts.append(verdict)
        used += seen
    wrong = verdicts.count(_PLACES[place] < 0) / streams
    promotions, rejections = (wrong, 0.0) if _PLACES[place] < 0 else (0.0, wrong)
    return Figures(kind, place, streams, promotions, rejections, 1 - used / (streams * rows))


def _stopped(scores: Scores, bound: AtLeast) -> tuple[bool | None, int]:
    """The verdict, None if it was never certain before the end, and the rows it took."""
    sequence = ConfidenceSequence(len(scores), low=0, high=1, confidence=_CONFIDENCE)
    for start in range(0, len(scores) - _BATCH, _BATCH):
        sequence.add(scores[start : start + _BATCH])
        low, high = map(bound.holds, sequence.interval)
        if low == high:
            return low, start + _BATCH
    return None, len(scores)


@click.command()
@click.option("--streams", default=10_000, show_default=True, help="Evaluations of each kind.")
@click.option("--rows", default=66, show_default=True, help="Of each evaluation.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures there.")
def main(streams: int, rows: int, path: Path | None) -> None:
    """Simulate early stops. Takes about three minutes on two cores."""
    with ProcessPoolExecutor() as pool:
        cases = product(_KINDS, _PLACES)
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
