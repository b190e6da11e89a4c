"""Links versions into collections, and changes the aliases of versions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local_wandb.automations import ALIASED, LINKED, VersionEvent
from local_wandb.errors import ConflictError, NotFoundError, RequestError
from local_wandb.graphql.accounts import USERNAME
from local_wandb.graphql.artifacts import require_artifact
from local_wandb.graphql.collections import SuccessPayload, require_collection
from local_wandb.graphql.context import Context
from local_wandb.graphql.ids import global_id, row_id
from local_wandb.graphql.projects import require_project
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.store.lineage import artifact_by_client_id
from local_wandb.store.projects import ensure_type
from local_wandb.store.rows import (
    Artifact,
    ArtifactType,
    Collection,
    Membership,
    Project,
)
from local_wandb.store.versions import (
    add_version,
    ensure_collection,
    remove_aliases,
    remove_versions,
    set_aliases,
)


@dataclass(frozen=True)
class LinkPayload:
    """The answer to a link."""

    artifact_membership: Membership

    @property
    def version_index(self) -> int:
        """The number of the version in the collection."""
        return self.artifact_membership.version


RESOLVERS = Resolvers()
RESOLVERS.row(LinkPayload, "LinkArtifactPayload")


@RESOLVERS.field("Mutation.linkArtifact")
def _link(
    context: Context,
    artifact_id: str | None = None,
    client_id: str | None = None,
    artifact_portfolio_name: str | None = None,
    entity_name: str | None = None,
    project_name: str | None = None,
    aliases: list[Mapping[str, Any]] | None = None,
) -> LinkPayload:
    if not artifact_portfolio_name:
        raise RequestError("linkArtifact needs the name of a collection")
    artifact = _linkable(context, artifact_id, client_id)
    project = require_project(context, entity_name, project_name)
    type_ = _type_in(context, project, artifact)
    collection = ensure_collection(
        context.store, project, type_, artifact_portfolio_name, "PORTFOLIO"
    )
    version, new = add_version(context.store, collection, artifact)
    given = [alias["alias"] for alias in aliases or ()]
    if new:
        context.events.append(_event(context, version, LINKED, given))
    set_aliases(context.store, version, ["latest"])
    _point_aliases(context, version, given)
    return LinkPayload(version)


@RESOLVERS.field("Mutation.unlinkArtifact")
def _unlink(context: Context, artifact_id: str, artifact_portfolio_id: str) -> SuccessPayload:
    artifact = require_artifact(context, artifact_id)
    collection = context.store.collections.get(row_id(Collection, artifact_portfolio_id))
    if collection.kind != "PORTFOLIO":
        raise ConflictError(f"'{collection.name}' is where the artifact was logged, not a link")
    remove_versions(context.store, collection_id=collection.id, artifact_id=artifact.id)
    return SuccessPayload()


@RESOLVERS.field("Mutation.addAliases")
def _add_aliases(
    context: Context, artifact_id: str, aliases: list[Mapping[str, Any]]
) -> SuccessPayload:
    for alias in aliases:
        _point_aliases(context, _version_for(context, artifact_id, alias), [alias["alias"]])
    return SuccessPayload()


@RESOLVERS.field("Mutation.deleteAliases")
def _delete_aliases(
    context: Context, artifact_id: str, aliases: list[Mapping[str, Any]]
) -> SuccessPayload:
    for alias in aliases:
        remove_aliases(context.store, _version_for(context, artifact_id, alias), [alias["alias"]])
    return SuccessPayload()


def _linkable(context: Context, artifact_id: str | None, client_id: str | None) -> Artifact:
    if artifact_id:
        artifact = require_artifact(context, artifact_id)
    elif client_id and (found := artifact_by_client_id(context.store, client_id)):
        artifact = found
    else:
        raise NotFoundError("linkArtifact names an unknown artifact")
    if artifact.state != "COMMITTED":
        raise ConflictError("an artifact can be linked only after it was committed")
    return artifact


def _type_in(context: Context, project: Project, artifact: Artifact) -> ArtifactType:
    """Return the artifact's type in the target project; a registry may refuse it."""
    source = context.store.types.get(context.store.collections.get(artifact.sequence_id).type_id)
    known = context.store.types.find(project_id=project.id, name=source.name)
    if known:
        return known
    if not project.all_types:
        raise RequestError(f"{project.path} does not accept artifacts of type '{source.name}'")
    return ensure_type(context.store, project, source.name)


def _version_for(context: Context, artifact_id: str, alias: Mapping[str, Any]) -> Membership:
    collection = require_collection(
        context, alias["entityName"], alias["projectName"], alias["artifactCollectionName"]
    )
    artifact = require_artifact(context, artifact_id)
    found = context.store.memberships.find(collection_id=collection.id, artifact_id=artifact.id)
    if found is None:
        raise NotFoundError(f"the artifact is not in collection '{collection.name}'")
    return found


def _point_aliases(context: Context, version: Membership, aliases: Iterable[str]) -> None:
    """Point aliases to a version, and record an event for each that it did not have.

    ``latest``, which the server moves by itself, is never an event.
    """
    held = {alias.alias for alias in context.store.aliases.where(membership_id=version.id)}
    new = sorted(set(aliases) - held)
    set_aliases(context.store, version, new)
    context.events += [_event(context, version, ALIASED, [alias]) for alias in new]


def _event(
    context: Context, version: Membership, event_type: str, aliases: Iterable[str]
) -> VersionEvent:
    collection = context.store.collections.get(version.collection_id)
    project = context.store.projects.get(collection.project_id)
    return VersionEvent(
        type=event_type,
        aliases=tuple(aliases),
        artifact_id=global_id(context.store.artifacts.get(version.artifact_id)),
        author=USERNAME,
        entity=project.entity,
        project=project.name,
        project_id=project.id,
        collection=collection.name,
        collection_id=collection.id,
        version=version.version,
    )
