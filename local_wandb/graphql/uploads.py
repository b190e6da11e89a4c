"""The mutations with which wandb-core uploads an artifact.

Source: docs/upstream/wandb-protocol.md, "Artifact upload".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_wandb.errors import ConflictError, RequestError
from local_wandb.graphql.artifacts import ArtifactPayload, require_artifact
from local_wandb.graphql.context import Context
from local_wandb.graphql.files import incoming_file
from local_wandb.graphql.pages import Connection, single_page
from local_wandb.graphql.projects import require_project
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.graphql.runs import require_run
from local_wandb.store.clock import now
from local_wandb.store.commits import commit, publish, save_pending_aliases
from local_wandb.store.lineage import artifact_by_client_id, save_client_id
from local_wandb.store.projects import ensure_type
from local_wandb.store.rows import Artifact, Manifest
from local_wandb.store.tags import add_tags
from local_wandb.store.versions import ensure_collection


@dataclass(frozen=True)
class ManifestPayload:
    """The answer to a manifest."""

    artifact_manifest: Manifest


@dataclass(frozen=True)
class FilesPayload:
    """The answer to a batch of files, in the order of the batch."""

    files: Connection


RESOLVERS = Resolvers()
RESOLVERS.row(ManifestPayload, "CreateArtifactManifestPayload")
RESOLVERS.row(FilesPayload, "CreateArtifactFilesPayload")


@RESOLVERS.field("Mutation.createArtifact")
def _create(
    context: Context,
    entity_name: str,
    project_name: str,
    artifact_type_name: str,
    artifact_collection_name: str,
    digest: str,
    run_name: str | None = None,
    digest_algorithm: str | None = None,
    description: str | None = None,
    metadata: str | None = None,
    aliases: list[Mapping[str, Any]] | None = None,
    tags: list[Mapping[str, Any]] | None = None,
    ttl_duration_seconds: int | None = None,
    history_step: int | None = None,
    enable_digest_deduplication: bool | None = None,
    client_id: str | None = None,
) -> ArtifactPayload:
    if digest_algorithm not in (None, "MANIFEST_MD5"):
        raise RequestError(f"artifacts with {digest_algorithm} digests are not supported")
    if client_id and (repeated := artifact_by_client_id(context.store, client_id)):
        return ArtifactPayload(repeated)
    store = context.store
    project = require_project(context, entity_name, project_name)
    run = require_run(context, entity_name, project_name, run_name) if run_name else None
    type_ = ensure_type(store, project, artifact_type_name)
    sequence = ensure_collection(store, project, type_, artifact_collection_name, "SEQUENCE")
    names = [alias["alias"] for alias in aliases or ()]
    same = store.artifacts.find(sequence_id=sequence.id, digest=digest, state="COMMITTED")
    if same and enable_digest_deduplication:
        publish(store, same, names)
        artifact = same
    else:
        time = now()
        artifact = store.artifacts.add(
            sequence_id=sequence.id,
            run_id=run.id if run else None,
            digest=digest,
            description=description,
            metadata=metadata,
            ttl_s=ttl_duration_seconds,
            history_step=history_step,
            created_at=time,
            updated_at=time,
        )
        save_pending_aliases(store, artifact, names)
    add_tags(store, artifact, [tag["tagName"] for tag in tags or ()])
    if client_id:
        save_client_id(store, client_id, artifact)
    return ArtifactPayload(artifact)


@RESOLVERS.field("Mutation.createArtifactManifest")
def _create_manifest(
    context: Context,
    artifact_id: str,
    name: str,
    digest: str,
    type: str | None = None,  # noqa: A002 - the schema's name
) -> ManifestPayload:
    if type not in (None, "FULL"):
        raise RequestError(f"{type} manifests are not supported; log the whole artifact")
    artifact = _pending(context, artifact_id)
    manifests = context.store.manifests
    found = manifests.find(artifact_id=artifact.id)  # clients send it twice: first without digest
    if found:
        return ManifestPayload(manifests.change(found.id, name=name, digest=digest))
    return ManifestPayload(manifests.add(artifact_id=artifact.id, name=name, digest=digest))


@RESOLVERS.field("Mutation.createArtifactFiles")
def _create_files(context: Context, artifact_files: list[Mapping[str, Any]]) -> FilesPayload:
    files = [
        incoming_file(
            context, _pending(context, wanted["artifactID"]), wanted["name"], wanted["md5"]
        )
        for wanted in artifact_files
    ]
    return FilesPayload(single_page(files))


@RESOLVERS.field("Mutation.commitArtifact")
def _commit(context: Context, artifact_id: str) -> ArtifactPayload:
    return ArtifactPayload(commit(context.store, require_artifact(context, artifact_id)))


def _pending(context: Context, artifact_id: str) -> Artifact:
    artifact = require_artifact(context, artifact_id)
    if artifact.state != "PENDING":
        raise ConflictError(f"artifact '{artifact_id}' is committed and cannot change")
    return artifact
