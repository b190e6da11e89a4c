"""One version in the Registry."""

import wandb
from pydantic import BaseModel, ConfigDict

from registry.calls import wandb_call
from schemas.refs import ArtifactRef


class RegisteredVersion(BaseModel):
    """A version in the Registry.

    Attributes:
        ref: The version, by its number in the collection.
        artifact_id: W&B's id of its artifact.
    """

    model_config = ConfigDict(frozen=True)

    ref: ArtifactRef
    artifact_id: str


def resolve(api: wandb.Api, ref: ArtifactRef) -> RegisteredVersion:
    """Look up a version by number or alias, and return its number and artifact id.

    Raises:
        ConfigurationError: There is no such version.
        PlatformError: W&B did not answer.
    """
    with wandb_call(f"read version {ref}"):
        artifact = api.artifact(str(ref))
        numbered = ref.at(artifact.version)
        return RegisteredVersion(ref=numbered, artifact_id=str(artifact.id))
