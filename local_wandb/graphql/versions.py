"""Versions of collections: an artifact with a number and aliases."""

from local_wandb.graphql.context import Context
from local_wandb.graphql.files import file_of_artifact
from local_wandb.graphql.pages import Connection, Edge, page
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.store.rows import Alias, Artifact, Collection, Membership, Project
from local_wandb.store.versions import find_collection, find_version

RESOLVERS = Resolvers()
RESOLVERS.row(Membership, "ArtifactCollectionMembership")
RESOLVERS.row(Alias, "ArtifactAlias")


@RESOLVERS.field("Project.artifactCollectionMembership")
def _version_by_name(project: Project, context: Context, name: str) -> Membership | None:
    """Find ``collection``, ``collection:v3`` or ``collection:alias``; the default is ``latest``."""
    collection_name, _, alias = name.partition(":")
    collection = find_collection(context.store, project, collection_name)
    return find_version(context.store, collection, alias or "latest") if collection else None


@RESOLVERS.field("Project.artifact")
def _artifact_by_name(project: Project, context: Context, name: str) -> Artifact | None:
    found = _version_by_name(project, context, name)
    return _artifact(found, context) if found else None


@RESOLVERS.field("VersionedArtifactEdge.node")
def _artifact_of_edge(edge: Edge, context: Context) -> Artifact:
    return _artifact(edge.node, context)


@RESOLVERS.field("VersionedArtifactEdge.version")
def _version_of_edge(edge: Edge, _: Context) -> str:
    return f"v{edge.node.version}"


@RESOLVERS.field("ArtifactCollectionMembership.versionIndex")
def _number(version: Membership, _: Context) -> int:
    return version.version


@RESOLVERS.field("ArtifactCollectionMembership.aliases")
def _version_aliases(version: Membership, context: Context) -> list[Alias]:
    found = context.store.aliases.where(membership_id=version.id)
    return sorted(found, key=lambda alias: alias.alias)


@RESOLVERS.field(
    "ArtifactCollectionMembership.artifactCollection", "ArtifactAlias.artifactCollection"
)
def _collection_of(row: Membership | Alias, context: Context) -> Collection:
    return context.store.collections.get(row.collection_id)


@RESOLVERS.field("ArtifactCollectionMembership.artifact")
def _artifact(version: Membership, context: Context) -> Artifact:
    return context.store.artifacts.get(version.artifact_id)


@RESOLVERS.field("ArtifactCollectionMembership.files")
def _files(
    version: Membership,
    context: Context,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Connection:
    rows = context.store.artifact_files.where(artifact_id=version.artifact_id)
    chosen = [row for row in rows if names is None or row.path in names]
    return page([file_of_artifact(context, row) for row in chosen], first, after)
