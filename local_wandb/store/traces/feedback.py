"""Feedback: notes, reactions and scores on a reference.

The limits are W&B's (wandb/weave, ``weave/trace_server/feedback.py``).
"""

import json
from typing import Any

from pydantic import ConfigDict

from local_wandb.errors import RequestError
from local_wandb.store.database import Database
from local_wandb.store.traces.queries import Query
from local_wandb.store.traces.records import Record, RecordStore
from local_wandb.store.traces.requests import USER, InProject, new_id
from local_wandb.store.traces.timestamps import now

TABLE = "weave_feedback"

MAX_PAYLOAD = 2**20  # characters of JSON
MAX_NOTE = 1024  # characters

_NOTE = "wandb.note.1"


class Feedback(InProject):
    """Feedback from a client on a reference; unknown keys are stored too."""

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
        """Return the feedback as it is stored (docs/upstream/weave-protocol.md, "Feedback").

        Raises:
            RequestError: The payload exceeds W&B's limits.
        """
        if len(json.dumps(self.payload)) > MAX_PAYLOAD:
            raise RequestError("Feedback payload too large")
        if self.feedback_type == _NOTE and not _is_note(self.payload):
            raise RequestError(f"a note has 1 to {MAX_NOTE} characters")
        created = {"id": self.id or new_id(), "created_at": now(), "wb_user_id": USER}
        return {**dict(self), **created}


def _is_note(payload: dict[str, Any]) -> bool:
    note = payload.get("note")
    return isinstance(note, str) and 1 <= len(note) <= MAX_NOTE


def require_ids(query: Query) -> None:
    """Require that a query for deletion selects feedback by id.

    Args:
        query: The feedback to delete.

    Raises:
        RequestError: The query does not name one or more ids.
    """
    nodes = query.expression.get("$or", [query.expression])
    if not (isinstance(nodes, list) and all(_is_id(node) for node in nodes)):
        raise RequestError("Can only purge feedback by specifying one or more feedback ids")


def _is_id(node: Any) -> bool:
    match node:
        case {"$eq": [{"$getField": "id"}, {"$literal": str()}]}:
            return True
    return False


def feedback_store(database: Database) -> RecordStore:
    """Return the feedback of a database."""
    records = RecordStore(database, TABLE, frozenset({"created_at"}))
    ref = "json_extract(record, '$.weave_ref')"
    database.create(f"CREATE INDEX IF NOT EXISTS {TABLE}_by_ref ON {TABLE} ({ref});")
    return records
