"""Records of live workers on Redis; each expires soon after its worker ends."""

from datetime import datetime
from typing import cast

import redis
from pydantic import BaseModel, ConfigDict, Field

from bus.connection import KEY_PREFIX

_RECORD = f"{KEY_PREFIX}worker:"
_SCAN_COUNT = 1000


class WorkerRecord(BaseModel):
    """A worker's state at its last heartbeat.

    Attributes:
        name: Name of the Celery node.
        queues: Queues that it serves.
        pid: Process id of its main process.
        started_at: When the worker started.
        heard_at: When its self-test task was last delivered.
        busy_with: Tasks that are running, with their arguments.
        stalled: The worker is not consuming: its self-test task was not delivered although it is
            idle and Redis answers.
    """

    # ``stalled`` keeps its original name on Redis and in `weighbridge workers --json`.
    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    name: str
    queues: tuple[str, ...]
    pid: int
    started_at: datetime
    heard_at: datetime | None = None
    busy_with: tuple[str, ...] = ()
    stalled: bool = Field(default=False, alias="deaf")


def live_workers(client: redis.Redis) -> list[WorkerRecord]:
    """Return the records of live workers, sorted by name."""
    keys = list(client.scan_iter(f"{_RECORD}*", count=_SCAN_COUNT))
    texts = cast("list[str | None]", client.mget(keys)) if keys else []
    records = [WorkerRecord.model_validate_json(text) for text in texts if text]
    return sorted(records, key=lambda record: record.name)


def write_record(client: redis.Redis, record: WorkerRecord, ttl: float) -> None:
    """Write a worker's record; it expires after ``ttl`` seconds."""
    client.set(_RECORD + record.name, record.model_dump_json(), px=int(ttl * 1000))


def remove_record(client: redis.Redis, name: str) -> None:
    """Remove the record of a worker that is shutting down."""
    client.delete(_RECORD + name)
