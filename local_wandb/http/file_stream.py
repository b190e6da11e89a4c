"""The file stream of a run: history, system metrics, console, summary and the end of the run."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from local_wandb.errors import NotFoundError
from local_wandb.store.clock import now
from local_wandb.store.rows import Run
from local_wandb.store.store import Store
from local_wandb.store.streams import SUMMARY, write_lines


class Chunk(BaseModel):
    """Consecutive lines of one stream."""

    offset: int = 0
    content: list[str] = []


class Post(BaseModel):
    """One request of the stream; an empty one is a heartbeat."""

    files: dict[str, Chunk] = {}
    complete: bool = False
    exitcode: int = 0


def file_stream_routes(store: Store) -> APIRouter:
    """Return the route to which runs stream."""
    router = APIRouter()

    @router.post("/files/{entity}/{project}/{name}/file_stream")
    def receive(entity: str, project: str, name: str, post: Post) -> dict[str, Any]:
        store_post(store, _run(store, entity, project, name), post)
        return {"stopped": False, "limits": {}}

    return router


def store_post(store: Store, run: Run, post: Post) -> None:
    """Store the contents of one request."""
    ended = "finished" if post.exitcode == 0 else "failed"
    with store.database.write():
        for stream, chunk in post.files.items():
            if stream == SUMMARY:
                store.runs.change(run.id, summary=chunk.content[-1] if chunk.content else None)
            else:
                write_lines(store, run, stream, chunk.offset, chunk.content)
        store.runs.change(
            run.id, last_state=ended if post.complete else "running", heartbeat_at=now()
        )


def _run(store: Store, entity: str, project: str, name: str) -> Run:
    owner = store.projects.find(entity=entity, name=project)
    run = store.runs.find(project_id=owner.id, name=name) if owner else None
    if run is None:
        raise NotFoundError(f"run '{entity}/{project}/{name}' not found")
    return run
