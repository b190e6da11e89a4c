"""One promotion at a time into a collection.

W&B cannot compare and swap an alias: two workers that promote at once would both see the same
champion and both displace it, and one of them would be missing from the chain of champions.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import redis
import structlog
from redis.exceptions import LockError, LockNotOwnedError
from redis.lock import Lock

from bus.connection import KEY_PREFIX, connect
from bus.heartbeat import Heartbeat
from schemas.errors import PlatformError
from schemas.settings import Settings

_PATIENCE = 300.0  # seconds; longer than W&B may keep a few promotions waiting
_TELL_EVERY = 5.0  # seconds
_RENEWALS_PER_LEASE = 4  # so that three may fail before the lock expires

log = structlog.get_logger()


@contextmanager
def promotion_lock(
    settings: Settings, target: str, tell: Callable[[str], None], patience: float = _PATIENCE
) -> Iterator["PromotionLock"]:
    """Wait for the turn to change who holds the aliases of a collection, and have it in the block.

    A thread renews it. Of a holder that died it is over when a lease would be.

    Args:
        target: path of the collection.
        tell: hears what is waited for, every few seconds; what it raises ends the waiting.
        patience: seconds to wait.

    Raises:
        PlatformError: it did not come in time, or Redis is away.
    """
    client = connect(settings.broker_url, settings.redis_master)
    lock = Lock(client, f"{KEY_PREFIX}turn:{target}", settings.lease, thread_local=False)
    try:
        _wait(lock, target, tell, patience)
        held = PromotionLock(lock, target, settings.lease)
        with Heartbeat("promotion lock", settings.lease / _RENEWALS_PER_LEASE, held.renew):
            yield held
    finally:
        with suppress(LockError, redis.RedisError):  # then it is over without us
            lock.release()
        client.close()


class PromotionLock:
    """The right to change who holds a collection's aliases.

    Args:
        lock: acquired just now.
        target: the collection.
        term: seconds that the turn lasts without being renewed.
    """

    def __init__(self, lock: Lock, target: str, term: float) -> None:
        self._lock = lock
        self._target = target
        self._term = term
        self._renewed = time.monotonic()
        self._lost = False

    def check(self) -> None:
        """Call before every side effect; the whole term lies before it then.

        Raises:
            PlatformError: somebody else may have the turn by now.
        """
        self.renew()
        if self._lost or time.monotonic() - self._renewed > self._term:
            raise PlatformError(f"The turn to promote into {self._target} was lost.")

    def renew(self) -> None:
        """Renew the lock, unless it is lost."""
        if self._lost:
            return
        before = time.monotonic()
        try:
            self._lock.reacquire()
            self._renewed = before
        except LockNotOwnedError:
            self._lost = True
        except redis.RedisError as error:  # the term outlasts a short absence
            log.warning("the turn was not renewed", target=self._target, error=str(error))


def _wait(lock: Lock, target: str, tell: Callable[[str], None], patience: float) -> None:
    deadline, left = time.monotonic() + patience, 0.0
    while not _acquired(lock, target, min(left, _TELL_EVERY)):
        left = deadline - time.monotonic()
        if left <= 0:
            raise PlatformError(
                f"The turn to promote into {target} did not come within {patience:.0f} s."
            )
        tell(f"waiting for another promotion into {target}")


def _acquired(lock: Lock, target: str, seconds: float) -> bool:
    try:
        return bool(lock.acquire(blocking_timeout=seconds))
    except redis.RedisError as error:
        raise PlatformError(f"Redis did not give a turn at {target}: {error}.") from error
