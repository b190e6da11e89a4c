"""What a run streams while it works: history, system metrics, console, summary, and its end."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from local_wandb.errors import NotFoundError
from local_wandb.store.clock import now
from local_wandb.store.rows import Run
from local_wandb.store.store import Store
from local_wandb.store.streams import SUMMARY, write_lines


class Chunk(BaseModel):
    """Lines of one stream."""

    offset: int = 0
    content: list[str] = []


class Post(BaseModel):
    """One request of the stream; an empty one is a sign of life."""

    files: dict[str, Chunk] = {}
    complete: bool = False
    exitcode: int = 0


def file_stream_routes(store: Store) -> APIRouter:
    """The route that runs stream to.

    Args:
        store: where the lines go.
    """
    router = APIRouter()

    @router.post("/files/{entity}/{project}/{name}/file_stream")
    def receive(entity: str, project: str, name: str, post: Post) -> dict[str, Any]:
        append(store, _run(store, entity, project, name), post)
        return {"stopped": False, "limits": {}}

    return router


def append(store: Store, run: Run, post: Post) -> None:
    """Store what one request carries.

    Args:
        store: where it goes.
        run: which streams.
        post: the request.
    """
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
    holder = store.projects.find(entity=entity, name=project)
    run = store.runs.find(project_id=holder.id, name=name) if holder else None
    if run is None:
        raise NotFoundError(f"run '{entity}/{project}/{name}' not found")
    return run
