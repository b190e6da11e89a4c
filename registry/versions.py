"""Which versions the Registry holds."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

import wandb
from pydantic import BaseModel, ConfigDict

from registry.calls import wandb_call
from schemas.refs import REGISTRY_PREFIX, ArtifactRef


class RegisteredVersion(BaseModel):
    """A version as the Registry knows it.

    Attributes:
        ref: the version by its number in the collection.
        artifact_id: W&B's id of the artifact behind it.
    """

    model_config = ConfigDict(frozen=True)

    ref: ArtifactRef
    artifact_id: str


def resolve(api: wandb.Api, ref: ArtifactRef) -> RegisteredVersion:
    """Look a version up, and turn an alias into the number that it stands for now.

    Raises:
        ConfigurationError: there is no such version.
        PlatformError: W&B did not answer.
    """
    with wandb_call(f"read version {ref}"):
        artifact = api.artifact(str(ref))
        return _registered(ref, artifact)


def versions(api: wandb.Api, pattern: str) -> Iterator[RegisteredVersion]:
    """All versions in the collections that a gate's `watch` pattern names, newest last.

    Args:
        pattern: `org/wandb-registry-NAME/COLLECTION`, shell wildcards in the collection.

    Raises:
        ConfigurationError: there is no such registry.
        PlatformError: W&B did not answer.
    """
    watched = ArtifactRef.parse(pattern)
    registry_name = watched.project.removeprefix(REGISTRY_PREFIX)
    with wandb_call(f"list the versions in {pattern}"):
        registry = api.registry(registry_name, organization=watched.entity)
        for collection in registry.collections():
            if not fnmatchcase(collection.name, watched.collection):
                continue
            found = registry.collections(filter={"name": collection.name}).versions()
            ref = watched.model_copy(update={"collection": collection.name})
            yield from sorted(
                (_registered(ref, artifact) for artifact in found),
                key=lambda version: version.ref.number or 0,
            )


def _registered(ref: ArtifactRef, artifact: wandb.Artifact) -> RegisteredVersion:
    numbered = ref.model_copy(update={"version": artifact.version})
    return RegisteredVersion(ref=numbered, artifact_id=str(artifact.id))
