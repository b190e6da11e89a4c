"""Calls as they arrive: complete, or a start and an end in any order, each possibly twice."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from local_wandb.store.database import Database
from local_wandb.store.traces.digests import json_text
from local_wandb.store.traces.requests import USER, InProject, new_id
from local_wandb.store.traces.sql import Sql, fill
from local_wandb.store.traces.timestamps import now, timestamp

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS weave_calls (
    project_id TEXT NOT NULL,
    id TEXT NOT NULL,
    trace_id TEXT,
    parent_id TEXT,
    op_name TEXT,
    display_name TEXT,
    started_at TEXT,
    ended_at TEXT,
    exception TEXT,
    attributes TEXT,
    inputs TEXT,
    output TEXT,
    summary TEXT,
    thread_id TEXT,
    turn_id TEXT,
    wb_user_id TEXT NOT NULL DEFAULT '{USER}',
    wb_run_id TEXT,
    wb_run_step INTEGER,
    wb_run_step_end INTEGER,
    deleted_at TEXT,
    PRIMARY KEY (project_id, id)
);
CREATE INDEX IF NOT EXISTS weave_calls_by_time ON weave_calls (project_id, started_at, id);
CREATE INDEX IF NOT EXISTS weave_calls_by_parent ON weave_calls (project_id, parent_id);
"""

#: Columns that hold JSON.
JSON_COLUMNS = ("attributes", "inputs", "output", "summary")

Id = Annotated[str, BeforeValidator(lambda given: given or new_id())]


class Summary(TypedDict, total=False):
    """The part of a call's summary that the server reads; the rest is stored unchanged."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    usage: dict[str, dict[str, Any]]
    status_counts: dict[str, int]
    weave: dict[str, Any]


class CallStart(InProject):
    """The part of a call that is known when it starts."""

    id: Id = Field(default_factory=new_id)
    trace_id: Id = Field(default_factory=new_id)
    parent_id: str | None = None
    op_name: str
    display_name: str | None = None
    started_at: datetime
    attributes: dict[str, Any]
    inputs: dict[str, Any]
    thread_id: str | None = None
    turn_id: str | None = None
    wb_run_id: str | None = None
    wb_run_step: int | None = None


class CallEnd(InProject):
    """The part of a call that is known when it ends."""

    id: str
    ended_at: datetime
    exception: str | None = None
    output: Any = None
    summary: Summary
    wb_run_step_end: int | None = None


class CompleteCall(CallEnd, CallStart):
    """A call that has ended."""

    id: str


class CallStore:
    """Stores calls part by part; ``CallReader`` reads those that have started.

    Args:
        database: The database of the calls.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(SCHEMA)

    def put(self, parts: Sequence[CallStart | CallEnd]) -> None:
        """Store calls or parts of calls; repeating a part changes nothing.

        Args:
            parts: Starts, ends and complete calls.

        Raises:
            InvalidValueError: A part cannot be stored, so none is.
        """
        with self._database.write() as connection:
            for part in parts:
                connection.execute(_PUT[type(part)], _values(part))

    def rename(self, project_id: str, call_id: str, display_name: str | None) -> None:
        """Set the display name of a call, which may arrive later.

        Args:
            display_name: The name; None or an empty text removes it.
        """
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO weave_calls (project_id, id, display_name) VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET display_name = excluded.display_name",
                (project_id, call_id, display_name or None),
            )

    def delete(self, project_id: str, call_ids: list[str]) -> int:
        """Delete calls and all their descendants.

        Args:
            call_ids: The ids of the calls; one that arrives later is deleted too.

        Returns:
            The number of deleted calls.
        """
        with self._database.write() as connection:
            return connection.execute(
                "WITH RECURSIVE deleted (id) AS ("
                " SELECT value FROM json_each(?) UNION"
                " SELECT c.id FROM weave_calls AS c JOIN deleted ON c.parent_id = deleted.id"
                " WHERE c.project_id = ?)"
                " INSERT INTO weave_calls (project_id, id, deleted_at)"
                " SELECT ?, id, ? FROM deleted WHERE true"
                " ON CONFLICT DO UPDATE SET deleted_at = excluded.deleted_at",
                (json_text(call_ids), project_id, project_id, now()),
            ).rowcount


def _put_sql(part: type[BaseModel]) -> str:
    columns = list(part.model_fields)
    new = {column: f"excluded.{column}" for column in columns}
    # A display name that arrives before the call is kept.
    new["display_name"] = "coalesce(weave_calls.display_name, excluded.display_name)"
    return fill(
        "INSERT INTO weave_calls ({}) VALUES ({}) ON CONFLICT DO UPDATE SET {}",
        Sql(", ".join(columns)),
        Sql(", ".join("?" * len(columns))),
        Sql(", ".join(f"{column} = {new[column]}" for column in columns)),
    ).text


_PUT = {part: _put_sql(part) for part in (CallStart, CallEnd, CompleteCall)}


def _values(part: BaseModel) -> list[Any]:
    return [_stored(column, value) for column, value in part]


def _stored(column: str, value: Any) -> Any:
    if column in JSON_COLUMNS:
        return json_text(value)
    return timestamp(value) if isinstance(value, datetime) else value
