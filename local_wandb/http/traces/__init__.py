"""Weave's trace API (docs/upstream/weave-protocol.md, "Opening a project" and "Trace API")."""

from pathlib import Path

from fastapi import APIRouter

from local_wandb.http.traces.calls import call_routes
from local_wandb.http.traces.files import file_routes
from local_wandb.http.traces.labels import label_routes
from local_wandb.http.traces.objects import object_routes
from local_wandb.http.traces.records import cost_routes, feedback_routes
from local_wandb.http.traces.route import trace_router
from local_wandb.http.traces.tables import table_routes
from local_wandb.store.database import Database
from local_wandb.store.traces.call_queries import CallReader
from local_wandb.store.traces.calls import CallStore
from local_wandb.store.traces.costs import cost_store
from local_wandb.store.traces.feedback import feedback_store
from local_wandb.store.traces.files import FileStore
from local_wandb.store.traces.labels import LabelStore
from local_wandb.store.traces.objects import ObjectStore
from local_wandb.store.traces.refs import RefStore
from local_wandb.store.traces.tables import TableStore

#: Older clients refuse this server; the API is that of this version or newer.
SERVER_INFO = {"min_required_weave_python_version": "0.50.0", "trace_server_version": "0.0.1"}


def trace_routes(database: Database, files_dir: Path) -> APIRouter:
    """Return the trace API, to be mounted under ``/traces``.

    Args:
        database: The tables of everything but the bytes of files.
        files_dir: The folder of the files' bytes.

    Returns:
        The routes, without authentication.
    """
    labels, tables = LabelStore(database), TableStore(database)
    objects = ObjectStore(database, labels)
    costs, feedback = cost_store(database), feedback_store(database)
    router = trace_router()
    router.include_router(object_routes(objects, RefStore(objects, tables)))
    router.include_router(label_routes(objects, labels))
    router.include_router(table_routes(tables))
    router.include_router(file_routes(FileStore(database, files_dir)))
    router.include_router(call_routes(CallStore(database), CallReader(database, costs, feedback)))
    router.include_router(feedback_routes(feedback))
    router.include_router(cost_routes(costs))

    @router.get("/server_info")
    def server_info() -> dict[str, str]:
        return SERVER_INFO

    @router.post("/agents/otel/v1/traces")
    def spans() -> None:
        """Accept the agent spans that Weave exports, and discard them."""

    return router
