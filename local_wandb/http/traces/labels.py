"""Routes of tags and aliases."""

from fastapi import APIRouter

from local_wandb.http.traces.route import Key, trace_router
from local_wandb.store.traces.labels import LATEST, LabelStore, Version, check_aliases
from local_wandb.store.traces.objects import ObjectStore
from local_wandb.store.traces.requests import ProjectId


def label_routes(objects: ObjectStore, labels: LabelStore) -> APIRouter:
    """Return the routes of tags and aliases."""
    router = trace_router()

    @router.put("/objs/{object_id}/versions/{digest}/tags")
    def tag(
        object_id: str, digest: str, project_id: Key[ProjectId], tags: Key[list[str]]
    ) -> dict[str, None]:
        labels.add("tag", objects.read(Version(project_id, object_id, digest)).id, tags)
        return {}

    @router.post("/objs/{object_id}/versions/{digest}/tags/remove")
    def untag(
        object_id: str, digest: str, project_id: Key[ProjectId], tags: Key[list[str]]
    ) -> dict[str, None]:
        labels.remove("tag", objects.read(Version(project_id, object_id, digest)).id, tags)
        return {}

    @router.put("/objs/{object_id}/aliases")
    def alias(
        object_id: str, project_id: Key[ProjectId], digest: Key[str], aliases: Key[list[str]]
    ) -> dict[str, None]:
        check_aliases(aliases)
        labels.add("alias", objects.read(Version(project_id, object_id, digest)).id, aliases)
        return {}

    @router.post("/objs/{object_id}/aliases/remove")
    def unalias(
        object_id: str, project_id: Key[ProjectId], aliases: Key[list[str]]
    ) -> dict[str, None]:
        check_aliases(aliases)
        labels.remove("alias", Version(project_id, object_id, LATEST), aliases)
        return {}

    @router.get("/tags")
    def tags(project_id: ProjectId) -> dict[str, list[str]]:
        return {"tags": labels.names("tag", project_id)}

    @router.get("/aliases")
    def aliases(project_id: ProjectId) -> dict[str, list[str]]:
        return {"aliases": labels.names("alias", project_id)}

    return router
