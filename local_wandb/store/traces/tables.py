"""Dataset tables: an ordered list of rows, each row stored once under its digest."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Json

from local_wandb.errors import NotFoundError
from local_wandb.store.database import Database
from local_wandb.store.traces.digests import check, json_text, table_digest, value_digest
from local_wandb.store.traces.queries import Fields, order
from local_wandb.store.traces.requests import Listing
from local_wandb.store.traces.sql import Sql, fill, in_list, join, json_field

SCHEMA = """
CREATE TABLE IF NOT EXISTS weave_rows (
    project_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    val TEXT NOT NULL,
    PRIMARY KEY (project_id, digest)
);
CREATE TABLE IF NOT EXISTS weave_tables (
    project_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    row_digests TEXT NOT NULL,
    PRIMARY KEY (project_id, digest)
);
"""

_FIELDS = Fields(lambda name: json_field("r.val", name))

Row = dict[str, Any]


class Append(BaseModel):
    """A row to append."""

    row: Row


class Change(BaseModel):
    """A change of a table; the SDK only appends."""

    append: Append


class RowFilter(BaseModel):
    """The digests of the requested rows; None requests all."""

    row_digests: list[str] | None = None


class RowsQuery(Listing):
    """A request for rows of a table."""

    digest: str
    filter: RowFilter | None = None


class TableRow(BaseModel):
    """One row of a table, as the client reads it."""

    digest: str
    val: Json[Any]
    original_index: int


class TableStore:
    """Tables and their rows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(SCHEMA)

    def create(
        self, project_id: str, rows: Sequence[Row], expected: str | None
    ) -> tuple[str, list[str]]:
        """Store a table.

        Args:
            rows: The rows, in order.
            expected: The digest that the client computed, if any.

        Returns:
            The digest of the table, and those of its rows.

        Raises:
            ConflictError: The table has another digest than expected.
        """
        digests = [value_digest(row) for row in rows]
        values = [
            (project_id, digest, json_text(row)) for digest, row in zip(digests, rows, strict=True)
        ]
        with self._database.write() as connection:
            connection.executemany("INSERT OR IGNORE INTO weave_rows VALUES (?, ?, ?)", values)
            return self._put(project_id, digests, expected), digests

    def assemble(self, project_id: str, row_digests: list[str], expected: str | None) -> str:
        """Store a table whose rows are stored already.

        Args:
            row_digests: The digests of the rows, in order.
            expected: The digest that the client computed, if any.

        Returns:
            The digest of the table.

        Raises:
            NotFoundError: A row is missing.
            ConflictError: The table has another digest than expected.
        """
        missing = self._database.row(
            "SELECT value FROM json_each(?) WHERE value NOT IN"
            " (SELECT digest FROM weave_rows WHERE project_id = ?)",
            (json_text(row_digests), project_id),
        )
        if missing is not None:
            raise NotFoundError(f"row {missing['value']} does not exist in {project_id}")
        return self._put(project_id, row_digests, expected)

    def update(
        self, project_id: str, base_digest: str, changes: Sequence[Change]
    ) -> tuple[str, list[str]]:
        """Create a new table from another one, which stays unchanged.

        Returns:
            The digest of the new table, and those of the added rows.

        Raises:
            NotFoundError: There is no such table.
        """
        old = self.row_digests(project_id, base_digest)
        _, added = self.create(project_id, [change.append.row for change in changes], None)
        return self._put(project_id, old + added, None), added

    def query(self, wanted: RowsQuery) -> list[TableRow]:
        """Return rows of a table, in its order unless sorted.

        Raises:
            NotFoundError: There is no such table.
        """
        self.row_digests(wanted.project_id, wanted.digest)
        conditions = [
            Sql("t.project_id = ? AND t.digest = ?", (wanted.project_id, wanted.digest)),
            *in_list("r.digest", wanted.filter.row_digests if wanted.filter else None),
        ]
        sql = fill(
            "SELECT r.digest, r.val, i.key AS original_index"
            " FROM weave_tables AS t, json_each(t.row_digests) AS i"
            " JOIN weave_rows AS r ON r.project_id = t.project_id AND r.digest = i.value"
            " WHERE {} ORDER BY {} LIMIT ? OFFSET ?",
            join(" AND ", conditions),
            order(wanted.sort_by, _FIELDS, "i.key"),
        )
        rows = self._database.rows(sql.text, (*sql.args, *wanted.page))
        return [TableRow.model_validate(dict(row)) for row in rows]

    def row(self, project_id: str, digest: str) -> Any:
        """Return the value of one row of any table.

        Raises:
            NotFoundError: There is no such row.
        """
        sql = "SELECT val FROM weave_rows WHERE project_id = ? AND digest = ?"
        row = self._database.row(sql, (project_id, digest))
        if row is None:
            raise NotFoundError(f"row {digest} does not exist in {project_id}")
        return json.loads(row["val"])

    def row_digests(self, project_id: str, digest: str) -> list[str]:
        """Return the digests of a table's rows, in order.

        Raises:
            NotFoundError: There is no such table.
        """
        sql = "SELECT row_digests FROM weave_tables WHERE project_id = ? AND digest = ?"
        row = self._database.row(sql, (project_id, digest))
        if row is None:
            raise NotFoundError(f"table {digest} does not exist in {project_id}")
        digests: list[str] = json.loads(row["row_digests"])
        return digests

    def _put(self, project_id: str, row_digests: list[str], expected: str | None) -> str:
        digest = table_digest(row_digests)
        check(digest, expected)
        with self._database.write() as connection:
            sql = "INSERT OR IGNORE INTO weave_tables VALUES (?, ?, ?)"
            connection.execute(sql, (project_id, digest, json_text(row_digests)))
        return digest
