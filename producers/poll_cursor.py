"""What pollers keep on Redis between two looks."""

from datetime import UTC, datetime, timedelta
from typing import cast

import redis

from bus.connection import KEY_PREFIX
from schemas.settings import Backfill

_BORN = f"{KEY_PREFIX}gates:born"  # a hash from gate and registry to when it was looked at first
_BACKFILLED = f"{KEY_PREFIX}gates:backfilled"  # the same to how the versions before were judged
_READ = f"{KEY_PREFIX}poller:"  # for each registry, up to when it was read

# W&B's clocks and ours differ.
OVERLAP = timedelta(minutes=2)

# An artifact is linked some time after it was made, and most servers tell only when it was made
# (registry/changes.py): so much is read again with each look.
_LOOK_BACK = timedelta(minutes=15)


class PollCursor:
    """How far each registry was read, and since when each gate looks there; pollers share them.

    Args:
        client: decodes responses to str, as `bus.connection.connect` makes it.
        full_scan_interval: seconds after which a registry must be read from the start again.
    """

    def __init__(self, client: redis.Redis, full_scan_interval: float) -> None:
        self._redis = client
        self._interval_ms = int(full_scan_interval * 1000)

    def first_seen(self, gate: str, registry: str) -> datetime:
        """When a registry was looked at under this gate for the first time; if never, now."""
        field = f"{gate} {registry}"
        self._redis.hsetnx(_BORN, field, datetime.now(UTC).isoformat())
        return datetime.fromisoformat(cast("str", self._redis.hget(_BORN, field)))

    def backfilled(self, gate: str, registry: str) -> Backfill | None:
        """How the versions before that were judged; None if they were not."""
        return cast("Backfill | None", self._redis.hget(_BACKFILLED, f"{gate} {registry}"))

    def mark_backfilled(self, gate: str, registry: str, how: Backfill) -> None:
        """Every version before that was judged this way, and what is to be weighed published."""
        self._redis.hset(_BACKFILLED, f"{gate} {registry}", how)

    def since(self, registry: str) -> datetime | None:
        """Since when a registry must be read; None when it is time to read it from the start."""
        mark = cast("str | None", self._redis.get(_READ + registry))
        return datetime.fromisoformat(mark) - _LOOK_BACK if mark else None

    def advance(self, registry: str, to: datetime, *, is_whole: bool) -> None:
        """Set how far a registry was read.

        Args:
            to: the latest time that W&B told of a version there.
            is_whole: it was read from the start, so that the next time can wait.
        """
        if is_whole:
            self._redis.set(_READ + registry, to.isoformat(), px=self._interval_ms)
        else:
            self._redis.set(_READ + registry, to.isoformat(), xx=True, keepttl=True)
