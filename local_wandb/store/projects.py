"""Projects, registries and the artifact types in them."""

from local_wandb.store.clock import now
from local_wandb.store.rows import ArtifactType, Project
from local_wandb.store.store import Store


def ensure_project(store: Store, entity: str, name: str) -> tuple[Project, bool]:
    """A project, made when it is missing.

    Args:
        store: where it lies.
        entity: name of its entity.
        name: of the project.

    Returns:
        The project, and whether it was made now.
    """
    with store.database.write():
        project = store.projects.find(entity=entity, name=name)
        if project is not None:
            return project, False
        time = now()
        made = store.projects.add(entity=entity, name=name, created_at=time, updated_at=time)
        return made, True


def ensure_type(
    store: Store, project: Project, name: str, description: str | None = None
) -> ArtifactType:
    """An artifact type of a project, made when it is missing.

    Args:
        store: where it lies.
        project: whose type it is.
        name: of the type.
        description: for a type that is made now.
    """
    with store.database.write():
        found = store.types.find(project_id=project.id, name=name)
        return found or store.types.add(
            project_id=project.id, name=name, description=description, created_at=now()
        )
