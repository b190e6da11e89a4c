"""Routes of dataset tables."""

from typing import Any

from fastapi import APIRouter

from local_wandb.http.traces.route import Key, trace_router
from local_wandb.store.traces.requests import InProject, ProjectId
from local_wandb.store.traces.tables import Change, Row, RowsQuery, TableRow, TableStore


class NewTable(InProject):
    """A table to store."""

    rows: list[Row]
    expected_digest: str | None = None


def table_routes(tables: TableStore) -> APIRouter:
    """Return the routes of tables."""
    router = trace_router()

    @router.post("/table/create")
    def create(table: Key[NewTable]) -> dict[str, Any]:
        digest, rows = tables.create(table.project_id, table.rows, table.expected_digest)
        return {"digest": digest, "row_digests": rows}

    @router.post("/table/create_from_digests")
    def assemble(
        project_id: Key[ProjectId],
        row_digests: Key[list[str]],
        expected_digest: Key[str | None] = None,
    ) -> dict[str, str]:
        return {"digest": tables.assemble(project_id, row_digests, expected_digest)}

    @router.post("/table/update")
    def update(
        project_id: Key[ProjectId], base_digest: Key[str], updates: Key[list[Change]]
    ) -> dict[str, Any]:
        digest, added = tables.update(project_id, base_digest, updates)
        return {"digest": digest, "updated_row_digests": added}

    @router.post("/table/query")
    def query(request: RowsQuery) -> dict[str, list[TableRow]]:
        return {"rows": tables.query(request)}

    @router.post("/table/query_stats")
    def query_stats(project_id: Key[ProjectId], digest: Key[str]) -> dict[str, int]:
        return {"count": len(tables.row_digests(project_id, digest))}

    return router
