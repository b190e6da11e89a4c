"""Collections of versions: sequences and portfolios."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_wandb.errors import ConflictError, NotFoundError
from local_wandb.graphql.context import Context
from local_wandb.graphql.documents import version_document
from local_wandb.graphql.filters import select
from local_wandb.graphql.ids import row_id
from local_wandb.graphql.pages import Connection, page, single_page
from local_wandb.graphql.projects import require_project
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.store.clock import now
from local_wandb.store.rows import (
    Artifact,
    ArtifactType,
    Collection,
    Membership,
    Project,
)
from local_wandb.store.tags import add_tags, remove_tags, tags_of
from local_wandb.store.versions import delete_collection, find_collection, find_version

KINDS = ("ArtifactSequence", "ArtifactPortfolio")


@dataclass(frozen=True)
class Tag:
    """A tag of an artifact or a collection."""

    name: str

    @property
    def id(self) -> str:
        """The name, which identifies a tag."""
        return self.name


@dataclass(frozen=True)
class CollectionPayload:
    """The answer to a change of a collection."""

    artifact_collection: Collection


@dataclass(frozen=True)
class TagsPayload:
    """The answer to new tags."""

    tags: list[Tag]


@dataclass(frozen=True)
class SuccessPayload:
    """The answer to a mutation that returns nothing else."""

    success: bool = True


RESOLVERS = Resolvers()
RESOLVERS.row(Collection, *KINDS)
RESOLVERS.row(CollectionPayload, "ArtifactCollectionPayload")
for _row in (Tag, TagsPayload, SuccessPayload):
    RESOLVERS.row(_row)


def require_collection(context: Context, entity: str, project: str, name: str) -> Collection:
    """Return a collection by the names of its entity, its project and itself.

    Raises:
        NotFoundError: There is no such collection.
    """
    found = find_collection(context.store, require_project(context, entity, project), name)
    if found is None:
        raise NotFoundError(f"artifact collection '{name}' not found in '{entity}/{project}'")
    return found


@RESOLVERS.field("Query.artifactCollection")
def _collection_by_id(context: Context, id: str) -> Collection:  # noqa: A002
    return context.store.collections.get(row_id(Collection, id))


@RESOLVERS.field("Project.artifactCollection")
def _collection(project: Project, context: Context, name: str) -> Collection | None:
    return find_collection(context.store, project, name)


@RESOLVERS.field(*(f"{kind}.project" for kind in KINDS))
def _project(collection: Collection, context: Context) -> Project:
    return context.store.projects.get(collection.project_id)


@RESOLVERS.field(*(f"{kind}.defaultArtifactType" for kind in KINDS))
def _type(collection: Collection, context: Context) -> ArtifactType:
    return context.store.types.get(collection.type_id)


@RESOLVERS.field(*(f"{kind}.tags" for kind in KINDS))
def _tags(collection: Collection, context: Context) -> Connection:
    return single_page([Tag(name) for name in tags_of(context.store, collection)])


@RESOLVERS.field(*(f"{kind}.aliases" for kind in KINDS))
def _aliases(
    collection: Collection, context: Context, after: str | None = None, first: int | None = None
) -> Connection:
    found = context.store.aliases.where(collection_id=collection.id)
    return page(sorted(found, key=lambda alias: alias.alias), first, after)


@RESOLVERS.field(*(f"{kind}.artifacts" for kind in KINDS))
def _versions(
    collection: Collection,
    context: Context,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Connection:
    every = context.store.memberships.where(collection_id=collection.id)
    found = select(every, lambda v: version_document(context.store, v), filters, order)
    return page(found, first, after)


@RESOLVERS.field(*(f"{kind}.artifactMembership" for kind in KINDS))
def _version(collection: Collection, context: Context, alias_name: str) -> Membership | None:
    return find_version(context.store, collection, alias_name)


@RESOLVERS.field("ArtifactSequence.latestArtifact")
def _latest(collection: Collection, context: Context) -> Artifact | None:
    found = find_version(context.store, collection, "latest")
    return context.store.artifacts.get(found.artifact_id) if found else None


@RESOLVERS.field("Mutation.updateArtifactSequence")
def _update_sequence(
    context: Context,
    artifact_sequence_id: str,
    name: str | None = None,
    description: str | None = None,
) -> CollectionPayload:
    return _update(context, artifact_sequence_id, name, description)


@RESOLVERS.field("Mutation.updateArtifactPortfolio")
def _update_portfolio(
    context: Context,
    artifact_portfolio_id: str,
    name: str | None = None,
    description: str | None = None,
) -> CollectionPayload:
    return _update(context, artifact_portfolio_id, name, description)


@RESOLVERS.field("Mutation.deleteArtifactSequence")
def _delete_sequence(context: Context, artifact_sequence_id: str) -> CollectionPayload:
    collection = _collection_by_id(context, artifact_sequence_id)
    return CollectionPayload(delete_collection(context.store, collection))


@RESOLVERS.field("Mutation.deleteArtifactPortfolio")
def _delete_portfolio(context: Context, artifact_portfolio_id: str) -> CollectionPayload:
    collection = _collection_by_id(context, artifact_portfolio_id)
    return CollectionPayload(delete_collection(context.store, collection))


@RESOLVERS.field("Mutation.createArtifactCollectionTagAssignments")
def _add_tags(
    context: Context,
    entity_name: str,
    project_name: str,
    artifact_collection_name: str,
    tags: list[Mapping[str, Any]],
) -> TagsPayload:
    collection = require_collection(context, entity_name, project_name, artifact_collection_name)
    names = [tag["tagName"] for tag in tags]
    add_tags(context.store, collection, names)
    return TagsPayload([Tag(name) for name in names])


@RESOLVERS.field("Mutation.deleteArtifactCollectionTagAssignments")
def _remove_tags(
    context: Context,
    entity_name: str,
    project_name: str,
    artifact_collection_name: str,
    tags: list[Mapping[str, Any]],
) -> SuccessPayload:
    collection = require_collection(context, entity_name, project_name, artifact_collection_name)
    remove_tags(context.store, collection, [tag["tagName"] for tag in tags])
    return SuccessPayload()


def _update(
    context: Context, collection_id: str, name: str | None, description: str | None
) -> CollectionPayload:
    collection = _collection_by_id(context, collection_id)
    if name not in (None, collection.name):
        project = context.store.projects.get(collection.project_id)
        if find_collection(context.store, project, str(name)):
            raise ConflictError(f"{project.path}/{name} exists already")
    changed = context.store.collections.change(
        collection.id, name=name, description=description, updated_at=now()
    )
    return CollectionPayload(changed)
