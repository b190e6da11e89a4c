"""Routes of objects and ops."""

from typing import Annotated, Any

from fastapi import APIRouter, Body

from local_wandb.http.traces.route import Key, trace_router
from local_wandb.store.traces.labels import Version
from local_wandb.store.traces.objects import (
    NewObject,
    ObjectsQuery,
    ObjectStore,
    ObjectVersion,
)
from local_wandb.store.traces.refs import RefStore
from local_wandb.store.traces.requests import ProjectId


def object_routes(objects: ObjectStore, refs: RefStore) -> APIRouter:
    """Return the routes of objects and ops, and of references to them."""
    router = trace_router()

    @router.post("/obj/create")
    def create(obj: Key[NewObject]) -> dict[str, str]:
        return {"digest": objects.create(obj), "object_id": obj.object_id}

    @router.post("/obj/read")
    def read(
        project_id: Key[ProjectId], object_id: Key[str], digest: Key[str]
    ) -> dict[str, ObjectVersion]:
        return {"obj": objects.read(Version(project_id, object_id, digest))}

    @router.post("/objs/query")
    def query(request: ObjectsQuery) -> dict[str, list[ObjectVersion]]:
        return {"objs": objects.query(request)}

    @router.post("/obj/delete")
    def delete(
        project_id: Key[ProjectId], object_id: Key[str], digests: Key[list[str] | None] = None
    ) -> dict[str, int]:
        return {"num_deleted": objects.delete(project_id, object_id, digests)}

    @router.post("/refs/read_batch")
    def read_batch(
        uris: Annotated[list[str], Body(embed=True, alias="refs")],
    ) -> dict[str, list[Any]]:
        return {"vals": [refs.read(uri) for uri in uris]}

    return router
