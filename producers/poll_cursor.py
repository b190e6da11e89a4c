"""What pollers store on Redis between two scans."""

from datetime import UTC, datetime, timedelta
from typing import cast

import redis

from bus.connection import KEY_PREFIX
from schemas.settings import Backfill

# Hashes from gate and registry to the time of the first scan (under the key's original name), and
# to the last backfill.
_FIRST_SEEN = f"{KEY_PREFIX}gates:born"
_BACKFILLED = f"{KEY_PREFIX}gates:backfilled"
_CURSORS = f"{KEY_PREFIX}poller:"  # per registry, the time up to which it was read

# W&B's clock and ours may differ by this.
OVERLAP = timedelta(minutes=2)

# An artifact is linked some time after it was created, and most servers can filter only by when it
# was created (registry/changes.py), so each scan reads this much again.
_REREAD = timedelta(minutes=15)


class PollCursor:
    """How far each registry was read, and when each gate first scanned it; shared by all pollers.

    Args:
        client: Must decode responses to str, as ``bus.connection.connect`` does.
        full_scan_interval: Seconds until the next full scan of a registry.
    """

    def __init__(self, client: redis.Redis, full_scan_interval: float) -> None:
        self._redis = client
        self._interval_ms = int(full_scan_interval * 1000)

    def first_seen(self, gate: str, registry: str) -> datetime:
        """Return when this gate first scanned the registry; the first call records now."""
        field = f"{gate} {registry}"
        self._redis.hsetnx(_FIRST_SEEN, field, datetime.now(UTC).isoformat())
        return datetime.fromisoformat(cast("str", self._redis.hget(_FIRST_SEEN, field)))

    def backfilled(self, gate: str, registry: str) -> Backfill | None:
        """Return the last backfill of a gate in a registry; None if there was none."""
        return cast("Backfill | None", self._redis.hget(_BACKFILLED, f"{gate} {registry}"))

    def mark_backfilled(self, gate: str, registry: str, how: Backfill) -> None:
        """Record that the backfill of a gate in a registry is complete."""
        self._redis.hset(_BACKFILLED, f"{gate} {registry}", how)

    def since(self, registry: str) -> datetime | None:
        """Return the time from which a registry must be read; None if a full scan is due."""
        cursor = cast("str | None", self._redis.get(_CURSORS + registry))
        return datetime.fromisoformat(cursor) - _REREAD if cursor else None

    def advance(self, registry: str, to: datetime, *, is_full: bool) -> None:
        """Set how far a registry was read.

        Args:
            registry: Its path.
            to: The latest time that W&B reports for a version there.
            is_full: It was a full scan, so the next full scan is due after the interval.
        """
        if is_full:
            self._redis.set(_CURSORS + registry, to.isoformat(), px=self._interval_ms)
        else:
            self._redis.set(_CURSORS + registry, to.isoformat(), xx=True, keepttl=True)
