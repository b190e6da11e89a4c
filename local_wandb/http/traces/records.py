"""Routes of feedback and of model prices."""

from typing import Any

from fastapi import APIRouter

from local_wandb.http.traces.route import Key, trace_router
from local_wandb.store.traces.costs import Price
from local_wandb.store.traces.feedback import Feedback, require_ids
from local_wandb.store.traces.queries import Query
from local_wandb.store.traces.records import Record, RecordStore
from local_wandb.store.traces.requests import Listing, ProjectId


def feedback_routes(records: RecordStore) -> APIRouter:
    """Return the routes of feedback."""
    router = trace_router()

    def store(batch: list[Feedback]) -> list[Record]:
        """Store the whole batch, or nothing."""
        created = [feedback.record() for feedback in batch]
        for record in created:
            records.put(record["project_id"], [record])
        keys = ("id", "created_at", "wb_user_id", "payload")
        return [{key: record[key] for key in keys} for record in created]

    @router.post("/feedback/create")
    def create(request: Feedback) -> Record:
        return store([request])[0]

    @router.post("/feedback/batch/create")
    def create_batch(batch: Key[list[Feedback]]) -> dict[str, list[Record]]:
        return {"res": store(batch)}

    @router.post("/feedback/query")
    def query(request: Listing) -> dict[str, Any]:
        found = records.query(request)
        return {"result": found, "total_count": len(found)}

    @router.post("/feedback/purge")
    def purge(project_id: Key[ProjectId], query: Key[Query]) -> dict[str, None]:
        require_ids(query)
        records.purge(project_id, query)
        return {}

    return router


def cost_routes(records: RecordStore) -> APIRouter:
    """Return the routes of prices."""
    router = trace_router()

    @router.post("/cost/create")
    def create(
        project_id: Key[ProjectId], costs: Key[dict[str, Price]]
    ) -> dict[str, list[tuple[str, str]]]:
        prices = [price.record(llm_id) for llm_id, price in costs.items()]
        records.put(project_id, prices)
        return {"ids": [(price["id"], price["llm_id"]) for price in prices]}

    @router.post("/cost/query")
    def query(request: Listing) -> dict[str, list[Record]]:
        return {"results": records.query(request)}

    @router.post("/cost/purge")
    def purge(project_id: Key[ProjectId], query: Key[Query]) -> dict[str, None]:
        records.purge(project_id, query)
        return {}

    return router
