"""Projects, collections and versions across an entity; of the organisation, its registries."""

from local_wandb.graphql.accounts import Entity
from local_wandb.graphql.conditions import condition
from local_wandb.graphql.context import Context
from local_wandb.graphql.documents import (
    collection_document,
    project_document,
    version_document,
)
from local_wandb.graphql.filters import select
from local_wandb.graphql.pages import Connection, page
from local_wandb.graphql.projects import collections_of
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.store.rows import Collection, Project
from local_wandb.store.version_list import VersionList

RESOLVERS = Resolvers()


@RESOLVERS.field("Entity.projects")
def _projects(
    entity: Entity,
    context: Context,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Connection:
    return page(_select_projects(context, entity, filters, order), first, after)


@RESOLVERS.field("Entity.artifactCollections")
def _collections(
    entity: Entity,
    context: Context,
    project_filters: str | None = None,
    filters: str | None = None,
    collection_types: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Connection:
    found = _select_collections(context, entity, project_filters, filters, order)
    kinds = collection_types or ["SEQUENCE", "PORTFOLIO"]
    return page([c for c in found if c.kind in kinds], first, after)


@RESOLVERS.field("Entity.artifactMemberships")
def _versions(
    entity: Entity,
    context: Context,
    project_filters: str | None = None,
    collection_filters: str | None = None,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Connection:
    collections = _select_collections(context, entity, project_filters, collection_filters)
    sql_condition = None if order else condition(filters)
    if sql_condition is not None:
        return page(
            VersionList(context.store, [c.id for c in collections], sql_condition), first, after
        )
    memberships = context.store.memberships
    every = [version for c in collections for version in memberships.where(collection_id=c.id)]
    found = select(every, lambda v: version_document(context.store, v), filters, order)
    return page(found, first, after)


def _select_projects(
    context: Context, entity: Entity, filters: str | None, order: str | None = None
) -> list[Project]:
    every = context.store.projects.where(entity=entity.name)
    shown = [p for p in every if p.is_registry or entity.entity_type != "organization"]
    return select(shown, project_document, filters, order)


def _select_collections(
    context: Context,
    entity: Entity,
    project_filters: str | None,
    filters: str | None,
    order: str | None = None,
) -> list[Collection]:
    projects = _select_projects(context, entity, project_filters)
    every = [collection for p in projects for collection in collections_of(context, p)]
    return select(every, lambda c: collection_document(context.store, c), filters, order)
