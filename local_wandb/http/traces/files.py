"""Routes of the files of objects and ops; their bytes are streamed in both directions."""

from typing import Annotated

from fastapi import APIRouter, Form, UploadFile
from fastapi.responses import FileResponse

from local_wandb.http.traces.route import Key, trace_router
from local_wandb.store.traces.files import FileStore
from local_wandb.store.traces.requests import ProjectId


def file_routes(files: FileStore) -> APIRouter:
    """Return the routes of files."""
    router = trace_router()

    @router.post("/file/create")
    def create(
        project_id: Annotated[ProjectId, Form()],
        file: UploadFile,
        expected_digest: Annotated[str | None, Form()] = None,
    ) -> dict[str, str]:
        return {"digest": files.create(project_id, file.file, expected_digest)}

    @router.post("/file/content")
    def content(project_id: Key[ProjectId], digest: Key[str]) -> FileResponse:
        path = files.path(project_id, digest)
        return FileResponse(path, media_type="application/octet-stream")

    return router
