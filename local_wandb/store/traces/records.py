"""Records of one kind that are stored as JSON and found by query: feedback, prices."""

import json
from collections.abc import Sequence
from typing import Any

from local_wandb.store.database import Database
from local_wandb.store.traces.digests import json_text
from local_wandb.store.traces.queries import Fields, Query, condition, order
from local_wandb.store.traces.requests import Listing
from local_wandb.store.traces.sql import Sql, fill, json_field

#: Records are JSON objects with at least an ``id``.
Record = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS {} (
    project_id TEXT NOT NULL,
    id TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (project_id, id)
);
"""


class RecordStore:
    """The records of one table.

    Args:
        database: The database of the table.
        table: The name of the table.
        times: Keys of a record that contain a time in the format of ``timestamps.timestamp``.
    """

    def __init__(self, database: Database, table: str, times: frozenset[str]) -> None:
        self._database = database
        self._table = Sql(table)
        self._fields = Fields(lambda name: json_field("record", name), times)
        database.create(_SCHEMA.format(table))

    def put(self, project_id: str, records: Sequence[Record]) -> None:
        """Store records; one with an existing id replaces that record."""
        sql = fill("INSERT OR REPLACE INTO {} VALUES (?, ?, ?)", self._table)
        rows = [(project_id, record["id"], json_text(record)) for record in records]
        with self._database.write() as connection:
            connection.executemany(sql.text, rows)

    def query(self, listing: Listing) -> list[Record]:
        """Return the requested records, in the order of their arrival unless sorted.

        Args:
            listing: The request, which names keys of a record, such as ``payload.emoji``.

        Raises:
            RequestError: The query is malformed.
        """
        sql = fill(
            "SELECT record FROM {} WHERE project_id = ? AND {} ORDER BY {} LIMIT ? OFFSET ?",
            self._table,
            condition(listing.query, self._fields),
            order(listing.sort_by, self._fields, "rowid"),
        )
        rows = self._database.rows(sql.text, (listing.project_id, *sql.args, *listing.page))
        return [json.loads(row["record"]) for row in rows]

    def purge(self, project_id: str, query: Query) -> None:
        """Delete the records that match a query.

        Raises:
            RequestError: The query is malformed.
        """
        where = condition(query, self._fields)
        sql = fill("DELETE FROM {} WHERE project_id = ? AND {}", self._table, where)
        with self._database.write() as connection:
            connection.execute(sql.text, (project_id, *sql.args))
