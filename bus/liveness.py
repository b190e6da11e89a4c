"""What each worker says of itself: a record on Redis that is gone soon after the worker is."""

from datetime import datetime
from typing import cast

import redis
from pydantic import BaseModel, ConfigDict, Field

from bus.connection import KEY_PREFIX

_RECORD = f"{KEY_PREFIX}worker:"
_KEYS_AT_ONCE = 1000


class WorkerRecord(BaseModel):
    """A worker as it saw itself a moment ago.

    Attributes:
        name: of the Celery node.
        queues: that it serves.
        pid: of its main process.
        started_at: when it began to serve them.
        heard_at: when a task that it sent itself through Redis last came back.
        busy_with: tasks that run now, and their arguments.
        stalled: its self-test task was not delivered although it is idle and Redis answers: it is
            not consuming.
    """

    # On Redis, and in `weighbridge workers --json`, the field has its first name.
    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    name: str
    queues: tuple[str, ...]
    pid: int
    started_at: datetime
    heard_at: datetime | None = None
    busy_with: tuple[str, ...] = ()
    stalled: bool = Field(default=False, alias="deaf")


def living_workers(client: redis.Redis) -> list[WorkerRecord]:
    """The workers that live, by name."""
    keys = list(client.scan_iter(f"{_RECORD}*", count=_KEYS_AT_ONCE))
    texts = cast("list[str | None]", client.mget(keys)) if keys else []
    records = [WorkerRecord.model_validate_json(text) for text in texts if text]
    return sorted(records, key=lambda record: record.name)


def write_record(client: redis.Redis, record: WorkerRecord, seconds: float) -> None:
    """Write a worker's record; it is gone after these seconds unless it is written again."""
    client.set(_RECORD + record.name, record.model_dump_json(), px=int(seconds * 1000))


def remove_record(client: redis.Redis, name: str) -> None:
    """Remove the record of a worker that ends."""
    client.delete(_RECORD + name)
