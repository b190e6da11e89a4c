"""Feedback: notes, reactions and scores on a reference."""

from typing import Any

from pydantic import ConfigDict

from rehearsal.local_wandb.store.database import Database
from rehearsal.local_wandb.store.traces.moments import now
from rehearsal.local_wandb.store.traces.records import Record, RecordStore
from rehearsal.local_wandb.store.traces.requests import USER, InProject, new_id

TABLE = "weave_feedback"


class Feedback(InProject):
    """What a client says about a reference; further keys are kept as they are."""

    model_config = ConfigDict(extra="allow")

    weave_ref: str
    feedback_type: str
    payload: dict[str, Any]
    id: str | None = None
    creator: str | None = None
    call_ref: str | None = None
    runnable_ref: str | None = None
    annotation_ref: str | None = None
    trigger_ref: str | None = None
    queue_id: str | None = None

    def record(self) -> Record:
        """The feedback as it is stored and read (FB of facts/weave-protocol.md 3)."""
        made = {"id": self.id or new_id(), "created_at": now(), "wb_user_id": USER}
        return {**dict(self), **made}


def feedback_store(database: Database) -> RecordStore:
    """The feedback of a database.

    Args:
        database: where it lives.
    """
    records = RecordStore(database, TABLE, frozenset({"created_at"}))
    ref = "json_extract(record, '$.weave_ref')"
    database.create(f"CREATE INDEX IF NOT EXISTS {TABLE}_by_ref ON {TABLE} ({ref});")
    return records
