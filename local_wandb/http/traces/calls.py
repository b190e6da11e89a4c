"""Routes of calls."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from local_wandb.http.traces.route import Key, trace_router
from local_wandb.store.traces.call_queries import CallReader, CallsQuery
from local_wandb.store.traces.calls import CallEnd, CallStart, CallStore, CompleteCall
from local_wandb.store.traces.requests import ProjectId


class Part(BaseModel):
    """A start or an end."""

    start: CallStart | None = None
    end: CallEnd | None = None


class Batched(BaseModel):
    """One item of ``POST /call/upsert_batch``."""

    req: Part


def call_routes(calls: CallStore, reader: CallReader) -> APIRouter:
    """Return the routes of calls.

    Weave's write-ahead-log sender uses those under ``/call`` without a version.
    """
    router = trace_router()

    @router.post("/v2/{entity}/{project}/calls/complete")
    def complete(batch: Key[list[CompleteCall]]) -> dict[str, None]:
        calls.put(batch)
        return {}

    @router.post("/v2/{entity}/{project}/call/start")
    @router.post("/call/start")
    def start(start: Key[CallStart]) -> dict[str, str]:
        calls.put([start])
        return {"id": start.id, "trace_id": start.trace_id}

    @router.post("/v2/{entity}/{project}/call/end")
    @router.post("/call/end")
    def end(end: Key[CallEnd]) -> dict[str, None]:
        calls.put([end])
        return {}

    @router.post("/call/upsert_batch")
    def upsert_batch(batch: Key[list[Batched]]) -> dict[str, list[None]]:
        parts = (part for item in batch for part in (item.req.start, item.req.end))
        calls.put([part for part in parts if part])
        return {"res": []}

    @router.post("/call/update")
    def update(
        project_id: Key[ProjectId], call_id: Key[str], display_name: Key[str | None] = None
    ) -> dict[str, None]:
        calls.rename(project_id, call_id, display_name)
        return {}

    @router.post("/calls/delete")
    def delete(project_id: Key[ProjectId], call_ids: Key[list[str]]) -> dict[str, int]:
        return {"num_deleted": calls.delete(project_id, call_ids)}

    @router.post("/calls/stream_query")
    def stream_query(request: CallsQuery) -> StreamingResponse:
        pages = reader.pages(request)
        first = next(pages, [])  # a malformed query fails here, before the response begins
        return StreamingResponse(_lines(chain([first], pages)), media_type="application/jsonl")

    @router.post("/calls/query_stats")
    def query_stats(request: CallsQuery) -> dict[str, Any]:
        return {"count": reader.count(request), "has_more": False}

    return router


def _lines(pages: Iterator[list[str]]) -> Iterator[str]:
    for page in pages:
        yield "".join(f"{line}\n" for line in page)
