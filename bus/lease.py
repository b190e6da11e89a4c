"""A worker's lease of one weighing, renewed by a thread while a step runs."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import redis
import structlog

from bus.heartbeat import BEATS_PER_LEASE, Heartbeat
from bus.ledger import Ledger
from schemas.errors import PlatformError
from schemas.events import WeighingId
from schemas.weighings import Progress

log = structlog.get_logger()


class LeaseLostError(PlatformError):
    """The lease has expired, so another worker may run the weighing."""


class Lease:
    """The exclusive right to run a weighing; a context manager that renews it in the block.

    Args:
        ledger: Has the weighing's record.
        weighing: The weighing that was claimed.
        token: The token that ``Ledger.claim`` returned.
        seconds: How long the lease lasts without a heartbeat.
    """

    def __init__(self, ledger: Ledger, weighing: WeighingId, token: str, seconds: float) -> None:
        self._ledger = ledger
        self._weighing = weighing
        self.token = token
        self._seconds = seconds
        self._interval = seconds / BEATS_PER_LEASE
        self._renewed_at = time.monotonic()
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
        """Check that the lease has not expired; call this before every side effect.

        Raises:
            LeaseLostError: The lease has expired.
        """
        if time.monotonic() - self._renewed_at > self._seconds:
            self._lost = True  # it was not renewed in time, so another worker may have it
        if self._lost:
            raise LeaseLostError(f"The lease of {self._weighing} was lost.")

    def report(self, progress: Progress) -> None:
        """Report progress, which also renews the lease.

        Raises:
            LeaseLostError: The lease has expired.
        """
        self._renew(progress)
        self.check()

    def retry_write(self, write: Callable[[], bool]) -> bool:
        """Write to the ledger, and retry for up to one lease while Redis is unavailable.

        Returns:
            The result of ``write``.

        Raises:
            redis.RedisError: Redis was unavailable for longer than a lease.
        """
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return write()
            except redis.RedisError as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("Redis is unavailable", weighing=str(self._weighing), error=str(error))
                time.sleep(min(1.0, self._interval))

    def _renew(self, progress: Progress | None = None) -> None:
        if self._lost:
            return
        before = time.monotonic()
        try:
            if self._ledger.renew(self._weighing, self.token, progress):
                self._renewed_at = before
            else:
                self._lost = True
        except redis.RedisError as error:
            # The lease outlasts a short outage of Redis; check() notices when it has expired.
            log.warning("heartbeat failed", weighing=str(self._weighing), error=str(error))
