"""Finds calls and returns them as lines of JSON."""

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from local_wandb.errors import RequestError
from local_wandb.store.database import Database
from local_wandb.store.traces.calls import JSON_COLUMNS
from local_wandb.store.traces.costs import bill
from local_wandb.store.traces.digests import json_text
from local_wandb.store.traces.queries import Fields, Query, condition, order
from local_wandb.store.traces.records import RecordStore
from local_wandb.store.traces.requests import Listing
from local_wandb.store.traces.sql import Sql, fill, in_list, join, json_field

#: Calls that have started and are not deleted, with the server's additions to their summary.
RECORDS = """
DROP VIEW IF EXISTS weave_call_records;
CREATE VIEW weave_call_records AS
SELECT project_id, id, trace_id, parent_id, op_name, display_name, started_at, ended_at,
    exception, thread_id, turn_id, wb_user_id, wb_run_id, wb_run_step, wb_run_step_end,
    attributes, inputs, coalesce(output, 'null') AS output,
    json_set(coalesce(summary, '{}'),
        '$.weave.status', CASE
            WHEN exception IS NOT NULL THEN 'error'
            WHEN ended_at IS NULL THEN 'running'
            WHEN json_extract(summary, '$.status_counts.error') > 0 THEN 'descendant_error'
            ELSE 'success' END,
        '$.weave.trace_name', coalesce(display_name, CASE
            WHEN op_name LIKE 'weave:///%/op/%:%' THEN substr(
                op_name, instr(op_name, '/op/') + 4,
                instr(substr(op_name, instr(op_name, '/op/') + 4), ':') - 1)
            ELSE op_name END),
        '$.weave.latency_ms', CAST(
            round((julianday(ended_at) - julianday(started_at)) * 86400000) AS INTEGER)
    ) AS summary
FROM weave_calls WHERE started_at IS NOT NULL AND deleted_at IS NULL;
"""

#: Calls read from the database at a time.
PAGE = 1000

_ALWAYS = ("project_id", "id", "trace_id", "op_name", "started_at")
_PLAIN = (
    *_ALWAYS,
    *("parent_id", "display_name", "ended_at", "exception", "thread_id", "turn_id"),
    *("wb_user_id", "wb_run_id", "wb_run_step", "wb_run_step_end"),
)
_FEEDBACK = re.compile(r"feedback\.\[(?P<type>.+?)\]\.(?P<path>.+)")


class CallFilter(BaseModel):
    """The conditions of a query for calls; None or an empty list is no condition.

    A name or a reference that ends with ``:*`` matches all its versions.
    """

    op_names: list[str] | None = None
    input_refs: list[str] | None = None
    output_refs: list[str] | None = None
    parent_ids: list[str] | None = None
    trace_ids: list[str] | None = None
    call_ids: list[str] | None = None
    thread_ids: list[str] | None = None
    turn_ids: list[str] | None = None
    wb_user_ids: list[str] | None = None
    wb_run_ids: list[str] | None = None
    trace_roots_only: bool | None = None


class CallsQuery(Listing):
    """A request for calls. A dotted column selects the column of its first part."""

    filter: CallFilter | None = None
    columns: list[str] | None = None
    include_costs: bool | None = None
    include_feedback: bool | None = None


class CallReader:
    """Reads calls.

    Args:
        database: The database of the calls.
        costs: The prices of models.
        feedback: The feedback.
    """

    def __init__(self, database: Database, costs: RecordStore, feedback: RecordStore) -> None:
        self._database = database
        self._costs = costs
        self._feedback = feedback
        database.create(RECORDS)

    def count(self, wanted: CallsQuery) -> int:
        """Return the number of calls, up to the limit.

        Raises:
            RequestError: The query is malformed.
        """
        sql = fill(
            "SELECT id FROM weave_call_records AS c WHERE {} LIMIT ? OFFSET ?", _where(wanted)
        )
        sql = fill("SELECT count(*) AS calls FROM ({})", sql)
        [row] = self._database.rows(sql.text, (*sql.args, *wanted.page))
        return int(row["calls"])

    def pages(self, wanted: CallsQuery) -> Iterator[list[str]]:
        """Read calls, each as one line of JSON (docs/upstream/weave-protocol.md, "Calls").

        Args:
            wanted: The request; calls are sorted oldest first by default.

        Yields:
            Up to ``PAGE`` calls at a time.

        Raises:
            RequestError: The query is malformed.
        """
        sql = fill(
            "SELECT {} AS line FROM weave_call_records AS c WHERE {} ORDER BY {} LIMIT ? OFFSET ?",
            _line(wanted),
            _where(wanted),
            order(wanted.sort_by, _FIELDS, "started_at, id"),
        )
        limit, offset = wanted.page
        while limit:
            size = PAGE if limit < 0 else min(PAGE, limit)
            rows = self._database.rows(sql.text, (*sql.args, size, offset))
            yield self._enriched(wanted, [row["line"] for row in rows])
            if len(rows) < size:
                return
            offset += size
            limit -= size if limit > 0 else 0

    def _enriched(self, wanted: CallsQuery, lines: list[str]) -> list[str]:
        if not (wanted.include_costs or wanted.include_feedback):
            return lines
        calls = [json.loads(line) for line in lines]
        if wanted.include_costs:
            self._add_costs(wanted.project_id, calls)
        if wanted.include_feedback:
            self._add_feedback(wanted.project_id, calls)
        return [json_text(call) for call in calls]

    def _add_costs(self, project_id: str, calls: list[dict[str, Any]]) -> None:
        prices = self._costs.query(Listing(project_id=project_id))
        for call in calls:
            summary = call["summary"]
            costs = bill(prices, summary.get("usage", {}), call["started_at"])
            summary["weave"]["costs"] = costs

    def _add_feedback(self, project_id: str, calls: list[dict[str, Any]]) -> None:
        given: dict[str, list[Any]] = {
            f"weave:///{project_id}/call/{call['id']}": [] for call in calls
        }
        refs = [{"$literal": ref} for ref in given]
        query = Query.model_validate({"$expr": {"$in": [{"$getField": "weave_ref"}, refs]}})
        for record in self._feedback.query(Listing(project_id=project_id, query=query)):
            given[record["weave_ref"]].append(record)
        for call, records in zip(calls, given.values(), strict=True):
            call["summary"]["weave"]["feedback"] = records


def _line(wanted: CallsQuery) -> Sql:
    """Return SQL for a call as JSON; clients need attributes and inputs even if not requested."""
    columns = _columns(wanted)
    parts = [f"'{name}', {name}" for name in _PLAIN if name in columns]
    parts += [f"'{name}', json({name})" for name in JSON_COLUMNS if name in columns]
    parts += [f"'{name}', json('{{}}')" for name in {"attributes", "inputs"} - columns]
    return Sql(f"json_object({', '.join(parts)})")


def _columns(wanted: CallsQuery) -> set[str]:
    known = {*_PLAIN, *JSON_COLUMNS}
    if wanted.columns is None:
        return known
    roots = {column.partition(".")[0] for column in wanted.columns}
    if unknown := roots - known:
        raise RequestError(f"calls have no column {min(unknown)!r}")
    added = {"summary"} if wanted.include_costs or wanted.include_feedback else set()
    return roots | added | set(_ALWAYS)


def _where(wanted: CallsQuery) -> Sql:
    chosen = wanted.filter or CallFilter()
    conditions = [
        Sql("project_id = ?", (wanted.project_id,)),
        *in_list("parent_id", chosen.parent_ids),
        *in_list("trace_id", chosen.trace_ids),
        *in_list("id", chosen.call_ids),
        *in_list("thread_id", chosen.thread_ids),
        *in_list("turn_id", chosen.turn_ids),
        *in_list("wb_user_id", chosen.wb_user_ids),
        *in_list("wb_run_id", chosen.wb_run_ids),
        *([Sql("parent_id IS NULL")] if chosen.trace_roots_only else []),
        *_matches_name("op_name", chosen.op_names),
        *_refers_to("inputs", chosen.input_refs),
        *_refers_to("output", chosen.output_refs),
        condition(wanted.query, _FIELDS),
    ]
    return join(" AND ", conditions)


def _matches_name(value: str, names: list[str] | None) -> Iterator[Sql]:
    if names:
        template = (
            "EXISTS (SELECT 1 FROM json_each({}) AS n WHERE n.value = {} OR"
            " n.value LIKE '%:*' AND rtrim(n.value, '*') = substr({}, 1, length(n.value) - 1))"
        )
        yield fill(template, Sql("?", (json_text(names),)), Sql(value), Sql(value))


def _refers_to(column: str, refs: list[str] | None) -> Iterator[Sql]:
    for listed in _matches_name("t.atom", refs):
        yield fill("EXISTS (SELECT 1 FROM json_tree({}) AS t WHERE {})", Sql(column), listed)


def _field(name: str) -> Sql:
    root, _, path = name.partition(".")
    if name in _PLAIN:
        return Sql(name)
    if root in JSON_COLUMNS:
        return json_field(root, path)
    if feedback := _FEEDBACK.fullmatch(name):
        return fill(
            "(SELECT {} FROM weave_feedback AS f WHERE f.project_id = c.project_id"
            " AND json_extract(record, '$.weave_ref') ="
            " 'weave:///' || c.project_id || '/call/' || c.id"
            " AND json_extract(record, '$.feedback_type') = {} ORDER BY f.rowid DESC LIMIT 1)",
            json_field("record", feedback["path"]),
            Sql("?", (feedback["type"],)),
        )
    raise RequestError(f"calls have no field {name!r}")


_FIELDS = Fields(_field, times=frozenset({"started_at", "ended_at"}))
