"""The fault plan: which fault strikes at which point of which version's progress.

It depends on the seed and on the number of versions alone, never on time. So every machine, fast or
slow, injects the same faults at the same points.
"""

import math
import random
from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

Point = Literal[
    "linked", "opened", "claimed", "download", "rebuild", "evaluate", "weigh", "promote", "decided"
]
POINTS: tuple[Point, ...] = get_args(Point)
"""What a version reaches, in order. A rejected version skips ``promote``."""

Kind = Literal[
    "kill gpu worker",
    "kill events worker",
    "kill poller",
    "kill webhook",
    "kill engine",
    "out of memory",
    "redis kill",
    "redis pause",
    "wandb 500",
    "wandb 429",
    "wandb slow",
    "wandb cut",
    "wandb lost",
]

# The kinds are dealt from shuffled decks, so that a short run gets its share of each.
_DECK: dict[Kind, int] = {
    "kill gpu worker": 4,
    "kill events worker": 2,
    "kill poller": 2,
    "kill webhook": 1,
    "kill engine": 1,
    "out of memory": 2,
    "redis kill": 2,
    "redis pause": 2,
    "wandb 500": 1,
    "wandb 429": 1,
    "wandb slow": 1,
    "wandb cut": 1,
    "wandb lost": 2,
}
_VERSIONS_PER_DECK = 16

_DELIVERY, _WEIGHING = POINTS[:2], POINTS[2:]
_POINTS_OF: dict[Kind, tuple[Point, ...]] = {
    "kill events worker": _DELIVERY,
    "kill poller": _DELIVERY,
    "kill webhook": _DELIVERY,
    "kill gpu worker": _WEIGHING,
    "kill engine": _WEIGHING,
    "out of memory": _WEIGHING,
}

_MOST_ATTEMPTS = 8  # attempts that an outage of Redis or W&B breaks or delays
_LOWEST_SHARE = 0.3


class Fault(NamedTuple):
    """One fault.

    Attributes:
        serial: Serial of the version whose progress triggers the fault.
        point: The fault is due when the version has reached this point or a later one.
        attempts: How many attempts an outage of Redis or W&B must affect before it ends.
        share: Fraction of the requests to W&B that an outage of W&B affects.
    """

    serial: int
    point: Point
    kind: Kind
    attempts: int
    share: float

    def __str__(self) -> str:
        return f"{self.kind} when version {self.serial} is at {self.point}"


def draw_plan(seed: str, versions: int) -> list[Fault]:
    """Draw the faults of a run."""
    dice = random.Random(seed)
    faults = [_draw(dice, kind, versions) for kind in _deal(dice, versions)]
    return sorted(faults, key=lambda fault: (fault.serial, POINTS.index(fault.point)))


def missing_faults(plan: Iterable[Fault], injected: Iterable[Fault]) -> list[str]:
    """Describe the faults of a plan that did not strike: every run must have all of them."""
    missing = Counter(plan) - Counter(injected)
    return [f"the fault did not strike: {fault}" for fault in missing.elements()]


def _deal(dice: random.Random, versions: int) -> list[Kind]:
    count = math.ceil(versions * sum(_DECK.values()) / _VERSIONS_PER_DECK)
    kinds: list[Kind] = []
    while len(kinds) < count:
        kinds += dice.sample(list(_DECK), counts=list(_DECK.values()), k=sum(_DECK.values()))
    return kinds[:count]


def _draw(dice: random.Random, kind: Kind, versions: int) -> Fault:
    return Fault(
        serial=dice.randrange(versions),
        point=dice.choice(_POINTS_OF.get(kind, POINTS)),
        kind=kind,
        attempts=dice.randint(1, _MOST_ATTEMPTS),
        share=dice.uniform(_LOWEST_SHARE, 1.0),
    )
