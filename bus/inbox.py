"""The inbox: accepted events that are not dispatched yet.

One atomic script accepts an event, and a producer waits for nothing else: the event is on Redis
then, and the sweeper dispatches it if the Celery task for it is lost.
"""

from collections.abc import Sequence
from typing import cast

import redis

from bus.connection import KEY_PREFIX
from bus.ledger import record_key
from bus.transitions import NOW
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate

_EVENTS = f"{KEY_PREFIX}inbox"  # a hash from event id to event
_DUE = f"{KEY_PREFIX}inbox:due"  # a sorted set from event id to when it is overdue

# KEYS: inbox, due, then the record of each weighing that the event would open. ARGV: grace (ms),
# id, event, force (0 or 1). Returns 1 for a new event, 0 for a duplicate.
_ACCEPT = (
    NOW
    + """
local id = ARGV[2]
if redis.call('HEXISTS', KEYS[1], id) == 1 then return 0 end
if #KEYS > 2 and ARGV[4] == '0' and redis.call('EXISTS', unpack(KEYS, 3)) == #KEYS - 2 then
  return 0
end
redis.call('HSET', KEYS[1], id, ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[1], id)
return 1
"""
)

# KEYS: due. ARGV: grace (ms), limit. Each id is returned to one sweeper per grace.
_OVERDUE = (
    NOW
    + """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, id in ipairs(due) do redis.call('ZADD', KEYS[1], now + ARGV[1], id) end
return due
"""
)

_SWEEP_LIMIT = 1000


class Inbox:
    """Accepted events on Redis.

    Args:
        client: Must decode responses to str, as ``bus.connection.connect`` does.
        grace: Seconds that an event may wait before the sweeper sends its task again.
    """

    def __init__(self, client: redis.Redis, grace: float) -> None:
        self._redis = client
        self._grace_ms = int(grace * 1000)
        self._accept = client.register_script(_ACCEPT)
        self._overdue = client.register_script(_OVERDUE)

    def accept(self, event: ModelVersionEvent, gates: Sequence[Gate]) -> bool:
        """Store an event until it is dispatched.

        Args:
            gates: Those that take the event.

        Returns:
            False for a duplicate: the event is in the inbox, or all its weighings are in the
            ledger.
        """
        keys = [_EVENTS, _DUE, *_record_keys(event, gates)]
        arguments: list[str | int] = [
            self._grace_ms,
            event.id,
            event.model_dump_json(),
            int(event.force),
        ]
        return bool(self._accept(keys=keys, args=arguments))

    def read(self, event_id: str) -> ModelVersionEvent | None:
        """Return a waiting event; None if it has been dispatched."""
        text = cast("str | None", self._redis.hget(_EVENTS, event_id))
        return ModelVersionEvent.model_validate_json(text) if text else None

    def remove(self, event_id: str) -> None:
        """Remove an event that has been dispatched: all its weighings are in the ledger."""
        with self._redis.pipeline() as pipeline:
            pipeline.hdel(_EVENTS, event_id)
            pipeline.zrem(_DUE, event_id)
            pipeline.execute()

    def count(self) -> int:
        """Count the waiting events."""
        return self._redis.zcard(_DUE)

    def waiting(self, limit: int | None = None) -> list[str]:
        """Ids of the waiting events, the next to be overdue first."""
        return cast("list[str]", self._redis.zrange(_DUE, 0, limit - 1 if limit else -1))

    def overdue(self) -> list[str]:
        """Ids of events that have waited for too long; each is returned to one caller per grace."""
        arguments = [self._grace_ms, _SWEEP_LIMIT]
        return cast("list[str]", self._overdue(keys=[_DUE], args=arguments))


def _record_keys(event: ModelVersionEvent, gates: Sequence[Gate]) -> list[str]:
    """Keys of the weighings that an event would open; empty for an unresolved alias."""
    if event.ref.number is None:
        return []
    return [record_key(WeighingId.of(gate.name, event.ref)) for gate in gates]
