"""Projects, and the artifact types in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_wandb.errors import NotFoundError, RequestError
from local_wandb.graphql.accounts import Entity, User, find_entity, require_entity
from local_wandb.graphql.context import Context
from local_wandb.graphql.documents import collection_document
from local_wandb.graphql.filters import select
from local_wandb.graphql.ids import global_id, row_id
from local_wandb.graphql.pages import Connection, page
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.store.clock import now
from local_wandb.store.projects import ensure_project, ensure_type
from local_wandb.store.rows import ArtifactType, Collection, Project
from local_wandb.store.versions import find_collection

RESOLVERS = Resolvers()
RESOLVERS.row(Project)
RESOLVERS.row(ArtifactType)
RESOLVERS.constant("{}", "Project.views")
RESOLVERS.constant(False, "Project.readOnly", "Project.isBenchmark")
RESOLVERS.constant(User(), "Project.user")


@dataclass(frozen=True)
class UpsertModelPayload:
    """The answer to ``upsertModel``."""

    project: Project
    inserted: bool

    @property
    def model(self) -> Project:
        """The project, under its older name."""
        return self.project


RESOLVERS.row(UpsertModelPayload)


def find_project(context: Context, entity: str | None, name: str | None) -> Project | None:
    """Return a project by its names, or None.

    Args:
        entity: The name of the entity; None is the team.
    """
    owner = find_entity(context, entity)
    return context.store.projects.find(entity=owner.name, name=name) if owner else None


def require_project(context: Context, entity: str | None, name: str | None) -> Project:
    """Return a project by its names.

    Args:
        entity: The name of the entity; None is the team.

    Raises:
        NotFoundError: There is no such project.
    """
    found = find_project(context, entity, name)
    if found is None:
        raise NotFoundError(f"project '{name}' not found under entity '{entity}'")
    return found


def collections_of(context: Context, project: Project) -> list[Collection]:
    """Return the collections of a project, oldest first."""
    return context.store.collections.where(project_id=project.id, state="READY")


@RESOLVERS.field("Query.project", "Query.model")
def _project(
    context: Context, name: str | None = None, entity_name: str | None = None
) -> Project | None:
    return find_project(context, entity_name, name)


@RESOLVERS.field("Query.models")
def _projects(
    context: Context,
    entity_name: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Connection:
    owner = require_entity(context, entity_name)
    found = context.store.projects.where(entity=owner.name)
    return page(found[::-1], first, after)


@RESOLVERS.field("Project.internalId")
def _internal_id(project: Project, _: Context) -> str:
    return global_id(project, "ProjectInternalId")


@RESOLVERS.field("Project.entityName")
def _entity_name(project: Project, _: Context) -> str:
    return project.entity


@RESOLVERS.field("Project.entity")
def _entity(project: Project, context: Context) -> Entity:
    return require_entity(context, project.entity)


@RESOLVERS.field("Project.allowAllArtifactTypesInRegistry")
def _allows_all_types(project: Project, _: Context) -> bool:
    return bool(project.all_types)


@RESOLVERS.field("Entity.project")
def _project_of_entity(entity: Entity, context: Context, name: str | None = None) -> Project | None:
    return find_project(context, entity.name, name)


@RESOLVERS.field("Project.artifactType")
def _type(project: Project, context: Context, name: str) -> ArtifactType | None:
    return context.store.types.find(project_id=project.id, name=name)


@RESOLVERS.field("Project.artifactTypes")
def _types(
    project: Project, context: Context, after: str | None = None, first: int | None = None
) -> Connection:
    found = context.store.types.where(project_id=project.id)
    return page(sorted(found, key=lambda type_: type_.name), first, after)


@RESOLVERS.field("Project.artifactCollections")
def _collections(
    project: Project,
    context: Context,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Connection:
    return _selected(context, collections_of(context, project), filters, order, after, first)


@RESOLVERS.field("ArtifactType.artifactCollections")
def _collections_of_type(
    artifact_type: ArtifactType,
    context: Context,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Connection:
    project = context.store.projects.get(artifact_type.project_id)
    found = [c for c in collections_of(context, project) if c.type_id == artifact_type.id]
    return _selected(context, found, filters, order, after, first)


@RESOLVERS.field("ArtifactType.artifactCollection")
def _collection_of_type(
    artifact_type: ArtifactType, context: Context, name: str
) -> Collection | None:
    project = context.store.projects.get(artifact_type.project_id)
    found = find_collection(context.store, project, name)
    return found if found and found.type_id == artifact_type.id else None


@RESOLVERS.field("Mutation.upsertModel")
def _upsert_model(
    context: Context,
    id: str | None = None,  # noqa: A002 - the schema's name
    name: str | None = None,
    entity_name: str | None = None,
    description: str | None = None,
    access: str | None = None,
    allow_all_artifact_types_in_registry: bool | None = None,
    artifact_types: list[Mapping[str, Any]] | None = None,
) -> UpsertModelPayload:
    if id is not None:
        project, inserted = context.store.projects.get(row_id(Project, id)), False
    elif name:
        owner = require_entity(context, entity_name)
        project, inserted = ensure_project(context.store, owner.name, name)
    else:
        raise RequestError("upsertModel needs the id or the name of a project")
    project = context.store.projects.change(
        project.id,
        description=description,
        access=access,
        all_types=allow_all_artifact_types_in_registry,
        updated_at=now(),
    )
    for wanted in artifact_types or ():
        ensure_type(context.store, project, wanted["name"], wanted.get("description"))
    return UpsertModelPayload(project, inserted)


def _selected(
    context: Context,
    collections: list[Collection],
    filters: str | None,
    order: str | None,
    after: str | None,
    first: int | None,
) -> Connection:
    found = select(collections, lambda c: collection_document(context.store, c), filters, order)
    return page(found, first, after)
