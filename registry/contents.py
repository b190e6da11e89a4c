"""A registry: the artifact types that it accepts, and its collections."""

import wandb
from pydantic import BaseModel, ConfigDict

from registry.calls import wandb_call
from schemas.refs import REGISTRY_PREFIX


class RegistryContents(BaseModel):
    """What a registry has and accepts.

    Attributes:
        path: ``org/wandb-registry-NAME``.
        artifact_types: The types that it accepts; None for all types.
        collections: The artifact type of each collection, by the collection's name.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    artifact_types: frozenset[str] | None
    collections: dict[str, str]

    def accepts(self, artifact_type: str) -> bool:
        """Whether artifacts of a type can be linked to it."""
        return self.artifact_types is None or artifact_type in self.artifact_types


def read_registry(api: wandb.Api, organization: str, project: str) -> RegistryContents:
    """Read a registry.

    Args:
        api: Reads it.
        organization: The organization's name.
        project: The registry's project, ``wandb-registry-NAME``.

    Raises:
        ConfigurationError: There is no such registry, or this key may not read it.
        PlatformError: W&B did not answer.
    """
    path = f"{organization}/{project}"
    with wandb_call(f"read the registry {path}"):
        registry = api.registry(project.removeprefix(REGISTRY_PREFIX), organization=organization)
        accepts_all = registry.allow_all_artifact_types
        return RegistryContents(
            path=path,
            artifact_types=None if accepts_all else frozenset(registry.artifact_types),
            collections={one.name: one.type for one in registry.collections()},
        )
