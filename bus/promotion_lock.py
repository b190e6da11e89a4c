"""One promotion at a time into a collection.

W&B has no compare-and-swap for aliases: two workers that promote at the same time would both
replace the same champion, and one of them would be missing from the chain of champions.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import redis
import structlog
from redis.exceptions import LockError, LockNotOwnedError
from redis.lock import Lock

from bus.connection import KEY_PREFIX, connect
from bus.heartbeat import BEATS_PER_LEASE, Heartbeat
from schemas.errors import PlatformError
from schemas.settings import Settings

_LOCKS = f"{KEY_PREFIX}turn:"  # the key's original name
_TIMEOUT = 300.0  # seconds; longer than W&B may delay a few promotions
_REPORT_INTERVAL = 5.0  # seconds

log = structlog.get_logger()


@contextmanager
def promotion_lock(
    settings: Settings, target: str, on_wait: Callable[[str], None], timeout: float = _TIMEOUT
) -> Iterator["PromotionLock"]:
    """Hold the lock on a collection's aliases in the block.

    A thread renews it. If the holder dies, the lock expires after one lease.

    Args:
        settings: The operator's settings.
        target: Path of the collection.
        on_wait: Called with a message every few seconds while waiting; if it raises, waiting ends.
        timeout: Seconds to wait for the lock.

    Raises:
        PlatformError: The lock was not acquired in time, or Redis is unavailable.
    """
    client = connect(settings.broker_url, settings.redis_master)
    lock = Lock(client, _LOCKS + target, settings.lease, thread_local=False)
    try:
        _wait(lock, target, on_wait, timeout)
        held = PromotionLock(lock, target, settings.lease)
        with Heartbeat("promotion lock", settings.lease / BEATS_PER_LEASE, held.renew):
            yield held
    finally:
        with suppress(LockError, redis.RedisError):  # it expires instead
            lock.release()
        client.close()


class PromotionLock:
    """The exclusive right to move a collection's aliases.

    Args:
        lock: A lock that was acquired just now.
        target: Path of the collection.
        ttl: Seconds until the lock expires unless renewed.
    """

    def __init__(self, lock: Lock, target: str, ttl: float) -> None:
        self._lock = lock
        self._target = target
        self._ttl = ttl
        self._renewed_at = time.monotonic()
        self._lost = False

    def check(self) -> None:
        """Renew the lock; call this before every side effect.

        Raises:
            PlatformError: The lock has expired, so another worker may hold it.
        """
        self.renew()
        if self._lost or time.monotonic() - self._renewed_at > self._ttl:
            raise PlatformError(f"The lock on promotions into {self._target} was lost.")

    def renew(self) -> None:
        """Renew the lock, unless it is lost."""
        if self._lost:
            return
        before = time.monotonic()
        try:
            self._lock.reacquire()
            self._renewed_at = before
        except LockNotOwnedError:
            self._lost = True
        except redis.RedisError as error:  # the lock outlasts a short outage
            log.warning("promotion lock not renewed", target=self._target, error=str(error))


def _wait(lock: Lock, target: str, on_wait: Callable[[str], None], timeout: float) -> None:
    deadline, left = time.monotonic() + timeout, 0.0
    while not _acquire(lock, target, min(left, _REPORT_INTERVAL)):
        left = deadline - time.monotonic()
        if left <= 0:
            raise PlatformError(
                f"Timed out after {timeout:.0f} s waiting for another promotion into {target}."
            )
        on_wait(f"waiting for another promotion into {target}")


def _acquire(lock: Lock, target: str, timeout: float) -> bool:
    try:
        return bool(lock.acquire(blocking_timeout=timeout))
    except redis.RedisError as error:
        raise PlatformError(f"Redis could not lock promotions into {target}: {error}.") from error
