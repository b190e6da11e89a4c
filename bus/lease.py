"""A worker's lease of one weighing, kept alive by a thread while a step runs."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import redis
import structlog

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
        self._left = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        self._thread.join()

    def check(self) -> None:
        """Call before every side effect.

        Raises:
            LeaseLostError: the lease is no longer ours.
        """
        if time.monotonic() - self._last_beat > self._seconds:
            self._lost.set()  # Redis did not hear from us in time: somebody else may have it
        if self._lost.is_set():
            raise LeaseLostError(f"The lease of {self._weighing} was lost.")

    def report(self, progress: Progress) -> None:
        """Tell how far the work is; renews the lease as well.

        Raises:
            LeaseLostError: the lease is no longer ours.
        """
        self._beat(progress)
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
                self._left.wait(min(1.0, self._interval))

    def _keep(self) -> None:
        while not self._left.wait(self._interval) and not self._lost.is_set():
            self._beat(None)

    def _beat(self, progress: Progress | None) -> None:
        before = time.monotonic()
        try:
            if self._ledger.renew(self._weighing, self.token, progress):
                self._last_beat = before
            else:
                self._lost.set()
        except redis.RedisError as error:
            # The lease outlasts a short absence of Redis; check() knows when it does no longer.
            log.warning("heartbeat failed", weighing=str(self._weighing), error=str(error))
