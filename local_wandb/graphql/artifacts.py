"""Artifacts: the contents of versions, and the runs that created and used them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_wandb.errors import ConflictError, NotFoundError
from local_wandb.graphql.accounts import User
from local_wandb.graphql.collections import Tag
from local_wandb.graphql.context import Context
from local_wandb.graphql.files import File, manifest_file
from local_wandb.graphql.ids import global_id, row_id
from local_wandb.graphql.pages import Connection, page, single_page
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.graphql.runs import require_run
from local_wandb.store.clock import now
from local_wandb.store.lineage import artifact_by_client_id, record_use, runs_that_used
from local_wandb.store.rows import (
    Alias,
    Artifact,
    ArtifactType,
    Collection,
    Manifest,
    Run,
)
from local_wandb.store.tags import add_tags, remove_tags, tags_of
from local_wandb.store.versions import aliases_of, delete_artifact

#: ``ttlDurationSeconds`` of an artifact that never expires.
NO_TTL = -1


@dataclass(frozen=True)
class ArtifactPayload:
    """The answer to a change of an artifact."""

    artifact: Artifact


@dataclass(frozen=True)
class ClientIDMapping:
    """The artifact that a client created under a client-side id."""

    artifact: Artifact


RESOLVERS = Resolvers()
RESOLVERS.row(Artifact)
RESOLVERS.row(ArtifactPayload, "ArtifactPayload", "CreateArtifactPayload")
RESOLVERS.row(Manifest, "ArtifactManifest")
RESOLVERS.constant("MANIFEST_MD5", "Artifact.digestAlgorithm")
RESOLVERS.constant(False, "Artifact.ttlIsInherited")
RESOLVERS.constant(None, "Artifact.commitHash")


def require_artifact(context: Context, artifact_id: str) -> Artifact:
    """Return an artifact that is not deleted.

    Args:
        artifact_id: The opaque id that clients see.

    Raises:
        NotFoundError: There is no such artifact, or it was deleted.
    """
    found = context.store.artifacts.get(row_id(Artifact, artifact_id))
    if found.state == "DELETED":
        raise NotFoundError(f"artifact '{artifact_id}' was deleted")
    return found


@RESOLVERS.field("Query.artifact")
def _artifact(context: Context, id: str) -> Artifact:  # noqa: A002
    return require_artifact(context, id)


@RESOLVERS.field("Query.clientIDMapping")
def _client_id_mapping(context: Context, client_id: str) -> ClientIDMapping | None:
    found = artifact_by_client_id(context.store, client_id)
    return ClientIDMapping(found) if found else None


@RESOLVERS.field("ClientIDMapping.serverID")
def _server_id(mapping: ClientIDMapping, _: Context) -> str:
    return global_id(mapping.artifact)


@RESOLVERS.field("Artifact.artifactSequence")
def _sequence(artifact: Artifact, context: Context) -> Collection:
    return context.store.collections.get(artifact.sequence_id)


@RESOLVERS.field("Artifact.artifactType")
def _type(artifact: Artifact, context: Context) -> ArtifactType:
    return context.store.types.get(_sequence(artifact, context).type_id)


@RESOLVERS.field("Artifact.versionIndex")
def _number(artifact: Artifact, context: Context) -> int | None:
    version = context.store.memberships.find(
        collection_id=artifact.sequence_id, artifact_id=artifact.id
    )
    return version.version if version else None


@RESOLVERS.field("Artifact.ttlDurationSeconds")
def _ttl(artifact: Artifact, _: Context) -> int:
    return NO_TTL if artifact.ttl_s is None else artifact.ttl_s


@RESOLVERS.field("Artifact.tags")
def _tags(artifact: Artifact, context: Context) -> list[Tag]:
    return [Tag(name) for name in tags_of(context.store, artifact)]


@RESOLVERS.field("Artifact.aliases")
def _aliases(artifact: Artifact, context: Context) -> list[Alias]:
    return aliases_of(context.store, artifact)


@RESOLVERS.field("Artifact.createdBy")
def _created_by(artifact: Artifact, context: Context) -> Run | User:
    return context.store.runs.get(artifact.run_id) if artifact.run_id else User()


@RESOLVERS.field("Artifact.usedBy")
def _used_by(artifact: Artifact, context: Context) -> Connection:
    return single_page(runs_that_used(context.store, artifact))


@RESOLVERS.field("Artifact.artifactMemberships")
def _versions(
    artifact: Artifact, context: Context, after: str | None = None, first: int | None = None
) -> Connection:
    return page(context.store.memberships.where(artifact_id=artifact.id), first, after)


@RESOLVERS.field("Artifact.currentManifest")
def _manifest(artifact: Artifact, context: Context) -> Manifest | None:
    return context.store.manifests.find(artifact_id=artifact.id)


@RESOLVERS.field("ArtifactManifest.file")
def _manifest_file(manifest: Manifest, context: Context) -> File:
    return manifest_file(context, manifest)


@RESOLVERS.field("Mutation.useArtifact")
def _use(
    context: Context, artifact_id: str, entity_name: str, project_name: str, run_name: str
) -> ArtifactPayload:
    artifact = require_artifact(context, artifact_id)
    run = require_run(context, entity_name, project_name, run_name)
    record_use(context.store, run, artifact)
    return ArtifactPayload(artifact)


@RESOLVERS.field("Mutation.updateArtifact")
def _update(
    context: Context,
    artifact_id: str,
    description: str | None = None,
    metadata: str | None = None,
    ttl_duration_seconds: int | None = None,
    tags_to_add: list[Mapping[str, Any]] | None = None,
    tags_to_delete: list[Mapping[str, Any]] | None = None,
) -> ArtifactPayload:
    artifact = require_artifact(context, artifact_id)
    add_tags(context.store, artifact, [tag["tagName"] for tag in tags_to_add or ()])
    remove_tags(context.store, artifact, [tag["tagName"] for tag in tags_to_delete or ()])
    changed = context.store.artifacts.change(
        artifact.id,
        description=description,
        metadata=metadata,
        ttl_s=ttl_duration_seconds,
        updated_at=now(),
    )
    return ArtifactPayload(changed)


@RESOLVERS.field("Mutation.deleteArtifact")
def _delete(
    context: Context, artifact_id: str, delete_aliases: bool | None = None
) -> ArtifactPayload:
    artifact = require_artifact(context, artifact_id)
    if aliases_of(context.store, artifact) and not delete_aliases:
        raise ConflictError("cannot delete an artifact that has aliases; use delete_aliases=True")
    delete_artifact(context.store, artifact)
    return ArtifactPayload(artifact)
