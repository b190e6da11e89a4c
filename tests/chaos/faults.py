"""What goes wrong, and when: all of it drawn from one seed."""

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Literal, NamedTuple, get_args

import psutil

from tests.chaos.stage import ENGINE, EVENTS_WORKERS, GPU_WORKERS, POLLERS, WEBHOOK, Stage

Weather = Literal["500", "429", "slow", "cut", "lost"]

_BETWEEN = (0.5, 5.0)  # seconds from one fault to the next
_REDIS_AWAY = (0.2, 3.0)  # seconds
_REDIS_PAUSED = (1.0, 5.0)  # seconds
_BAD_WEATHER = (1.0, 6.0)  # seconds
_SHARE_HIT = (0.3, 1.0)  # of the requests in bad weather

_VICTIMS = [*GPU_WORKERS, *GPU_WORKERS, *EVENTS_WORKERS, *POLLERS, WEBHOOK, ENGINE]
_WEIGHTS = {"kill": 5, "out of memory": 1, "redis kill": 1, "redis pause": 1, "weather": 3}


class Kill(NamedTuple):
    """A process that was killed.

    Attributes:
        at: seconds since the epoch.
    """

    name: str
    pid: int
    at: float


class Faults:
    """Strikes at random moments; each outage ends by itself.

    Args:
        dice: decides everything.

    Attributes:
        kills: of processes, in their order.
        counts: of all faults, by kind.
    """

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self._stage = stage
        self._dice = dice
        self._next = 0.0
        self._outages: dict[str, tuple[float, Callable[[], None]]] = {}
        self.kills: list[Kill] = []
        self.counts: Counter[str] = Counter()

    def __str__(self) -> str:
        now = f"  now: {', '.join(self._outages)}" if self._outages else ""
        return ", ".join(f"{count} {kind}" for kind, count in self.counts.items()) + now

    @property
    def redis_is_away(self) -> bool:
        """Whether it was killed or paused; who asks it would wait."""
        return "redis" in self._outages

    def step(self) -> None:
        """End the outages that are over, and strike if it is time."""
        now = time.monotonic()
        for what, (until, end) in list(self._outages.items()):
            if now >= until:
                end()
                del self._outages[what]
        if now >= self._next:
            self._strike(self._dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0])
            self._next = time.monotonic() + self._dice.uniform(*_BETWEEN)

    def calm(self) -> None:
        """End every outage."""
        for _, end in self._outages.values():
            end()
        self._outages.clear()

    def _strike(self, kind: str) -> None:
        redis = self._stage.redis
        match kind:
            case "kill":
                self._kill(self._dice.choice(_VICTIMS))
            case "out of memory":
                self._kill_largest(self._dice.choice(GPU_WORKERS))
            case "redis kill":
                self._outage("redis", kind, _REDIS_AWAY, redis.kill, redis.start)
            case "redis pause":
                self._outage("redis", kind, _REDIS_PAUSED, redis.pause, redis.resume)
            case "weather":
                weather = self._dice.choice(get_args(Weather))
                begin = partial(self._blow, weather)
                self._outage("weather", weather, _BAD_WEATHER, begin, self._clear)

    def _kill(self, name: str) -> None:
        if pid := self._stage.supervisor.kill(name):
            self.kills.append(Kill(name, pid, time.time()))
            self.counts[f"kill {name.rstrip(' 12')}"] += 1

    def _kill_largest(self, name: str) -> None:
        """As the kernel does when memory runs out: the worker lives on without its child."""
        with suppress(psutil.NoSuchProcess):
            worker = psutil.Process(self._stage.supervisor.pid(name))
            if children := worker.children():
                max(children, key=lambda child: child.memory_info().rss).kill()
                self.counts["out of memory"] += 1

    def _outage(
        self,
        what: str,
        kind: str,
        seconds: tuple[float, float],
        begin: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        if what not in self._outages:
            begin()
            self.counts[kind] += 1
            self._outages[what] = (time.monotonic() + self._dice.uniform(*seconds), end)

    def _blow(self, weather: Weather) -> None:
        self._stage.network.share = self._dice.uniform(*_SHARE_HIT)
        self._stage.network.mode = weather

    def _clear(self) -> None:
        self._stage.network.mode = "ok"
