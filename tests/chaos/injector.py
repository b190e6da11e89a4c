"""Injects the faults of a plan when the versions reach their points."""

import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import psutil

from tests.chaos.affected_attempts import refused_connections, waiting_clients
from tests.chaos.environment import (
    ENGINE,
    EVENTS_WORKERS,
    GPU_WORKERS,
    POLLERS,
    WEBHOOK,
    Environment,
)
from tests.chaos.fault_plan import Fault
from tests.chaos.progress import Progress
from tests.chaos.readiness import Readiness

_LONGEST_OUTAGE = 8.0  # seconds, unless no attempt was affected: then until the first one is

_PROCESSES = {
    "kill events worker": EVENTS_WORKERS,
    "kill poller": POLLERS,
    "kill webhook": [WEBHOOK],
    "kill engine": [ENGINE],
}


class Kill(NamedTuple):
    """A process that was killed.

    Attributes:
        at: Seconds since the epoch.
    """

    name: str
    pid: int
    at: float


class _Outage(NamedTuple):
    fault: Fault
    began: float
    affected: Callable[[], int]
    end: Callable[[], None]

    @property
    def may_end(self) -> bool:
        affected = self.affected()
        is_long = time.monotonic() > self.began + _LONGEST_OUTAGE
        return affected >= self.fault.attempts or (is_long and affected > 0)


class FaultInjector:
    """Injects each fault of the plan once, as soon as it is due and can have an effect.

    A kill can have an effect when its target is ready; an outage of Redis or W&B when no other one
    of the same server is going on. An outage counts as injected when it has affected an attempt.

    Attributes:
        pending: Faults that were not injected yet.
        injected: Faults in their order.
        late: How many faults struck when their version was past the drawn point.
        kills: Killed processes, in their order.
    """

    def __init__(
        self, environment: Environment, progress: Progress, plan: list[Fault], versions: int
    ) -> None:
        self._environment = environment
        self._progress = progress
        self._readiness = Readiness(environment, progress, versions)
        self._outages: dict[str, _Outage] = {}
        self.pending = list(plan)
        self.injected: list[Fault] = []
        self.late = 0
        self.kills: list[Kill] = []

    def __str__(self) -> str:
        ongoing = ", ".join(outage.fault.kind for outage in self._outages.values())
        return f"{len(self.injected)} faults injected" + (f", now: {ongoing}" if ongoing else "")

    @property
    def counts(self) -> Counter[str]:
        """Injected faults by kind."""
        return Counter(fault.kind for fault in self.injected)

    @property
    def is_done(self) -> bool:
        """Whether every fault was injected and every outage has ended."""
        return not self.pending and not self._outages

    @property
    def redis_is_down(self) -> bool:
        """Whether Redis is killed or paused."""
        return "redis" in self._outages

    def step(self) -> None:
        """End the outages that have affected enough, and inject the faults that are due.

        Raises:
            redis.RedisError: Redis does not respond.
        """
        for server, outage in list(self._outages.items()):
            if outage.may_end:
                self._end(server)
        if not self.redis_is_down:
            self._readiness.update()
        for fault in list(self.pending):
            if self._progress.has_reached(fault.serial, fault.point) and self._inject(fault):
                self.pending.remove(fault)
                self.late += self._progress.point_of(fault.serial) != fault.point

    def end_outages(self) -> None:
        """End every outage."""
        for server in list(self._outages):
            self._end(server)

    def _end(self, server: str) -> None:
        outage = self._outages.pop(server)
        if outage.affected() > 0:
            self.injected.append(outage.fault)
        outage.end()

    def _inject(self, fault: Fault) -> bool:
        server, _, failure = fault.kind.partition(" ")
        match server:
            case "kill":
                return self._kill(fault)
            case "redis" | "wandb":
                return self._begin_outage(server, failure, fault)
            case _:
                return self._kill_largest_child(fault)

    def _kill(self, fault: Fault) -> bool:
        name = self._target(fault)
        pid = self._environment.supervisor.kill(name) if name else None
        if name is None or pid is None:
            return False
        self.kills.append(Kill(name, pid, time.time()))
        self._count(fault, name)
        return True

    def _kill_largest_child(self, fault: Fault) -> bool:
        """Do what the kernel does when memory runs out: the worker survives without its child."""
        name = self._target(fault)
        if name is None:
            return False
        try:
            children = psutil.Process(self._environment.supervisor.pid(name)).children()
            max(children, key=lambda child: child.memory_info().rss).kill()
        except (psutil.NoSuchProcess, ValueError):  # no child now
            return False
        self._count(fault, name)
        return True

    def _count(self, fault: Fault, name: str) -> None:
        self.injected.append(fault)
        self._readiness.note_strike(name)

    def _target(self, fault: Fault) -> str | None:
        """The ready process that a fault strikes: for a GPU worker, first the one at work on it."""
        names = _PROCESSES.get(fault.kind, GPU_WORKERS)
        first = fault.serial % len(names)
        ready = [name for name in names[first:] + names[:first] if self._readiness.is_ready(name)]
        claim = self._progress.running_claim(fault.serial)
        for name in ready:
            if claim and f"-{self._environment.supervisor.pid(name)}@" in claim.note:
                return name
        return next(iter(ready), None)

    def _begin_outage(self, server: str, failure: str, fault: Fault) -> bool:
        if server in self._outages:
            return False
        begin = self._fail_redis if server == "redis" else self._fail_wandb
        affected, end = begin(failure, fault)
        self._outages[server] = _Outage(fault, time.monotonic(), affected, end)
        return True

    def _fail_redis(
        self, failure: str, fault: Fault
    ) -> tuple[Callable[[], int], Callable[[], None]]:
        server = self._environment.redis
        if failure == "pause":
            server.pause()
            return lambda: waiting_clients(server.port), server.resume
        affected = refused_connections(self._environment.folder / "processes", server.port)
        server.kill()
        return affected, server.start

    def _fail_wandb(
        self, failure: str, fault: Fault
    ) -> tuple[Callable[[], int], Callable[[], None]]:
        network = self._environment.network
        before = network.hits

        def end() -> None:
            network.mode = "ok"

        network.share, network.mode = fault.share, failure
        return lambda: network.hits - before, end
