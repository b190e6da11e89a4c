"""Reads and writes the bytes of files at signed addresses."""

import base64

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from local_wandb.errors import ForbiddenError, NotFoundError, RequestError
from local_wandb.http.signing import Signer
from local_wandb.store.blobs import Incoming
from local_wandb.store.clock import now
from local_wandb.store.store import Store

#: Addresses below it are signed and need no API key.
PREFIX = "/storage"

#: The position of the blob's key in ``region/entity/project/collection/birth/key/name``.
KEY_POSITION = 5


def file_routes(store: Store, signer: Signer) -> APIRouter:
    """Return the routes of files."""
    router = APIRouter()

    @router.get(f"{PREFIX}/blobs/{{key}}")
    def read(request: Request, key: str) -> FileResponse:
        _check(signer, request)
        return _blob(store, key)

    @router.get("/artifactsV2/{path:path}")
    def read_by_digest(path: str) -> FileResponse:
        """Serve a blob by its key; needs the API key.

        The SDK builds this address for files to which other artifacts refer.
        """
        parts = path.split("/")
        return _blob(store, parts[KEY_POSITION] if len(parts) > KEY_POSITION else "")

    @router.put(f"{PREFIX}/blobs/{{key}}")
    async def write(request: Request, key: str) -> Response:
        _check(signer, request)
        with store.blobs.incoming() as incoming:
            await _receive(request, incoming)
            if incoming.md5 != key:
                raise RequestError(f"the bytes have the MD5 {incoming.md5}, not {key}")
            incoming.keep()
        return Response(headers={"ETag": f'"{key}"'})

    @router.put(f"{PREFIX}/run-files/{{file_id}}")
    async def write_run_file(request: Request, file_id: int) -> Response:
        _check(signer, request)
        with store.blobs.incoming() as incoming:
            await _receive(request, incoming)
            key = incoming.keep()
        await run_in_threadpool(
            store.run_files.change, file_id, md5=key, size=incoming.size, updated_at=now()
        )
        return Response(headers={"ETag": f'"{key}"'})

    return router


def _check(signer: Signer, request: Request) -> None:
    query = request.query_params
    try:
        expires = int(query.get("expires", ""))
    except ValueError:
        expires = 0
    path = request.url.path
    if not signer.allows(request.method, path, expires, query.get("signature", "")):
        raise ForbiddenError("the address is not signed by this server, or has expired")


def _blob(store: Store, key: str) -> FileResponse:
    if not store.blobs.has(key):
        raise NotFoundError(f"file '{key}' not found")
    return FileResponse(store.blobs.path(key), media_type="application/octet-stream")


async def _receive(request: Request, incoming: Incoming) -> None:
    async for chunk in request.stream():
        incoming.write(chunk)
    wanted = request.headers.get("Content-MD5")
    digest = base64.b64encode(bytes.fromhex(incoming.md5)).decode()
    if wanted not in (None, digest):
        raise RequestError(f"the bytes have the MD5 {digest}, not {wanted}")
