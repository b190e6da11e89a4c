"""Projects, registries and the artifact types in them."""

from local_wandb.store.clock import now
from local_wandb.store.rows import ArtifactType, Project
from local_wandb.store.store import Store


def ensure_project(store: Store, entity: str, name: str) -> tuple[Project, bool]:
    """Return a project; create it if it is missing.

    Returns:
        The project, and whether it is new.
    """
    with store.database.write():
        project = store.projects.find(entity=entity, name=name)
        if project is not None:
            return project, False
        time = now()
        created = store.projects.add(entity=entity, name=name, created_at=time, updated_at=time)
        return created, True


def ensure_type(
    store: Store, project: Project, name: str, description: str | None = None
) -> ArtifactType:
    """Return an artifact type of a project; create it if it is missing.

    Args:
        description: The description of a new type.
    """
    with store.database.write():
        found = store.types.find(project_id=project.id, name=name)
        return found or store.types.add(
            project_id=project.id, name=name, description=description, created_at=now()
        )
