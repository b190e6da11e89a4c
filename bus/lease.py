"""A worker's lease of one weighing, kept alive by a thread while a step runs."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import redis
import structlog

from bus.heartbeat import Heartbeat
from bus.ledger import Ledger
from schemas.errors import PlatformError
from schemas.events import WeighingId
from schemas.weighings import Progress

_BEATS_PER_LEASE = 4  # so that three beats may be lost before the lease is

log = structlog.get_logger()


class LeaseLostError(PlatformError):
    """Another worker may have the weighing by now: stop before the next side effect."""


class Lease:
    """The right to work on a weighing; a context manager that keeps it until it is left.

    Args:
        token: what `Ledger.claim` answered.
        seconds: how long the lease lasts without a heartbeat.
    """

    def __init__(self, ledger: Ledger, weighing: WeighingId, token: str, seconds: float) -> None:
        self._ledger = ledger
        self._weighing = weighing
        self.token = token
        self._seconds = seconds
        self._interval = seconds / _BEATS_PER_LEASE
        self._last_beat = time.monotonic()
        self._lost = False
        self._heartbeat = Heartbeat("lease", self._interval, self._renew)

    def __enter__(self) -> Self:
        self._heartbeat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._heartbeat.stop()

    def check(self) -> None:
        """Call before every side effect.

        Raises:
            LeaseLostError: the lease is no longer ours.
        """
        if time.monotonic() - self._last_beat > self._seconds:
            self._lost = True  # Redis did not hear from us in time: somebody else may have it
        if self._lost:
            raise LeaseLostError(f"The lease of {self._weighing} was lost.")

    def report(self, progress: Progress) -> None:
        """Tell how far the work is; renews the lease as well.

        Raises:
            LeaseLostError: the lease is no longer ours.
        """
        self._renew(progress)
        self.check()

    def retry_write(self, write: Callable[[], bool]) -> bool:
        """Write to the ledger, again and again while Redis is away and the lease may still last.

        Returns:
            What `write` answered.

        Raises:
            LeaseLostError: the lease is no longer ours.
            redis.RedisError: Redis stayed away for longer than a lease.
        """
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return write()
            except redis.RedisError as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("Redis is away", weighing=str(self._weighing), error=str(error))
                time.sleep(min(1.0, self._interval))

    def _renew(self, progress: Progress | None = None) -> None:
        if self._lost:
            return
        before = time.monotonic()
        try:
            if self._ledger.renew(self._weighing, self.token, progress):
                self._last_beat = before
            else:
                self._lost = True
        except redis.RedisError as error:
            # The lease outlasts a short absence of Redis; check() knows when it does no longer.
            log.warning("heartbeat failed", weighing=str(self._weighing), error=str(error))
