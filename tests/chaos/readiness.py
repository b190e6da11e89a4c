"""Whether a process has done anything since it was last struck; only then it is struck again.

Without this rule a slow machine would kill workers that never get to work.
"""

import time
from collections.abc import Iterator, Mapping

import psutil

from bus.liveness import WorkerRecord, live_workers
from tests.chaos.environment import (
    ENGINE,
    EVENTS_WORKERS,
    GPU_WORKERS,
    POLLERS,
    WEBHOOK,
    Environment,
    responds,
)
from tests.chaos.progress import Progress, claims_by

_NAMES = (*GPU_WORKERS, *EVENTS_WORKERS, *POLLERS, WEBHOOK, ENGINE)


class Readiness:
    """Keeps track of the processes that may be struck.

    A GPU worker is ready when it has claimed a weighing, or has consumed its self-test task while
    nothing is left to claim; an events worker when it has consumed its self-test task; a poller
    when it has a connection to Redis; the webhook receiver and the engine when they answer.

    Args:
        versions: How many versions are linked in this run.
    """

    def __init__(self, environment: Environment, progress: Progress, versions: int) -> None:
        self._environment = environment
        self._progress = progress
        self._versions = versions
        self._ready: set[str] = set()
        self._struck_at: dict[str, float] = {}
        self._lines_before: dict[str, int] = {}

    def is_ready(self, name: str) -> bool:
        """Whether a process runs and has done something since it was last struck."""
        return name in self._ready and self._environment.supervisor.is_running(name)

    def note_strike(self, name: str) -> None:
        """Forget what a process has done."""
        self._ready.discard(name)
        self._struck_at[name] = time.time()
        self._lines_before[name] = len(self._progress.lines)

    def update(self) -> None:
        """Check the processes that were not ready so far.

        Raises:
            redis.RedisError: Redis does not respond.
        """
        missing = [
            name
            for name in _NAMES
            if name not in self._ready and self._environment.supervisor.is_running(name)
        ]
        if missing:
            workers = {one.pid: one for one in live_workers(self._environment.client)}
            self._ready.update(name for name in missing if self._has_worked(name, workers))

    def _has_worked(self, name: str, workers: Mapping[int, WorkerRecord]) -> bool:
        if name in GPU_WORKERS and self._progress.decided < self._versions:
            lines = self._progress.lines[self._lines_before.get(name, 0) :]
            return bool(claims_by(self._environment.supervisor.pid(name), lines))
        if name in (*GPU_WORKERS, *EVENTS_WORKERS):
            return self._has_consumed(name, workers)
        if name in POLLERS:
            return self._environment.redis.port in _remote_ports(
                self._environment.supervisor.pid(name)
            )
        return responds(
            self._environment.engine_url if name == ENGINE else self._environment.webhook_url
        )

    def _has_consumed(self, name: str, workers: Mapping[int, WorkerRecord]) -> bool:
        worker = workers.get(self._environment.supervisor.pid(name))
        consumed_at = worker.heard_at if worker else None
        struck_at = self._struck_at.get(name, 0.0)
        return consumed_at is not None and consumed_at.timestamp() > struck_at


def _remote_ports(pid: int) -> Iterator[int]:
    try:
        connections = psutil.Process(pid).net_connections()
    except psutil.Error:
        return
    yield from (connection.raddr.port for connection in connections if connection.raddr)
