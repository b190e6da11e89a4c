"""Collections, their versions, and the aliases of versions."""

import re
from collections.abc import Iterable

from local_wandb.errors import ConflictError, RequestError
from local_wandb.store.clock import now
from local_wandb.store.rows import (
    Alias,
    Artifact,
    ArtifactType,
    Collection,
    Membership,
    Project,
)
from local_wandb.store.store import Store

#: ``v3`` always means version 3; it is never stored as an alias.
VERSION_ALIAS = re.compile(r"v(\d{1,9})")


def find_collection(store: Store, project: Project, name: str) -> Collection | None:
    """Return a collection by its name, or None."""
    return store.collections.find(project_id=project.id, name=name, state="READY")


def ensure_collection(
    store: Store, project: Project, artifact_type: ArtifactType, name: str, kind: str
) -> Collection:
    """Return a collection; create it if it is missing.

    Args:
        artifact_type: The type of every version in the collection.
        kind: ``SEQUENCE`` or ``PORTFOLIO``.

    Raises:
        ConflictError: The name belongs to a collection of another type or kind.
    """
    found = find_collection(store, project, name)
    if found is None:
        time = now()
        return store.collections.add(
            project_id=project.id,
            type_id=artifact_type.id,
            name=name,
            kind=kind,
            created_at=time,
            updated_at=time,
        )
    if found.kind != kind:
        raise ConflictError(f"{project.path}/{name} exists already as a {found.kind.lower()}")
    if (held := store.types.get(found.type_id).name) != artifact_type.name:
        raise ConflictError(
            f"{project.path}/{name} holds artifacts of type '{held}', not '{artifact_type.name}'"
        )
    return found


def add_version(
    store: Store, collection: Collection, artifact: Artifact
) -> tuple[Membership, bool]:
    """Give an artifact the next version number of a collection.

    Args:
        collection: The collection that gets the version.
        artifact: The contents; an artifact that is in the collection keeps its number.

    Returns:
        The version, and whether it is new.
    """
    with store.database.write() as connection:
        found = store.memberships.find(collection_id=collection.id, artifact_id=artifact.id)
        if found is not None:
            return found, False
        # The number comes from the row, because ``collection`` may be outdated.
        row = connection.execute(
            "UPDATE collection SET next_version = next_version + 1, updated_at = ? WHERE id = ?"
            " RETURNING next_version - 1 AS version",
            (now(), collection.id),
        ).fetchone()
        created = store.memberships.add(
            collection_id=collection.id,
            artifact_id=artifact.id,
            version=row["version"],
            created_at=now(),
        )
        return created, True


def find_version(store: Store, collection: Collection, alias: str) -> Membership | None:
    """Return a version of a collection, or None.

    Args:
        alias: An alias, or ``v`` and the version number.
    """
    if number := VERSION_ALIAS.fullmatch(alias):
        return store.memberships.find(collection_id=collection.id, version=int(number[1]))
    held = store.aliases.find(collection_id=collection.id, alias=alias)
    return store.memberships.get(held.membership_id) if held else None


def aliases_of(store: Store, artifact: Artifact) -> list[Alias]:
    """Return the aliases of an artifact in every collection that contains it."""
    return store.aliases.joined(
        "JOIN membership m ON m.id = t.membership_id WHERE m.artifact_id = ? ORDER BY t.id",
        artifact.id,
    )


def set_aliases(store: Store, version: Membership, aliases: Iterable[str]) -> None:
    """Point aliases to a version; each leaves the version that had it.

    Raises:
        RequestError: A name is reserved for a version number.
    """
    wanted = sorted(set(aliases))
    for alias in wanted:
        if VERSION_ALIAS.fullmatch(alias):
            raise RequestError(f"alias '{alias}' is reserved for a version number")
    with store.database.write() as connection:
        connection.executemany(
            "INSERT INTO alias (collection_id, membership_id, alias) VALUES (?, ?, ?)"
            " ON CONFLICT (collection_id, alias) DO UPDATE"
            " SET membership_id = excluded.membership_id",
            [(version.collection_id, version.id, alias) for alias in wanted],
        )


def remove_aliases(store: Store, version: Membership, aliases: Iterable[str]) -> None:
    """Remove aliases from a version, if it has them."""
    with store.database.write() as connection:
        connection.executemany(
            "DELETE FROM alias WHERE membership_id = ? AND alias = ?",
            [(version.id, alias) for alias in aliases],
        )


def remove_versions(store: Store, **columns: int) -> None:
    """Remove versions, with their aliases, from their collections.

    Args:
        columns: ``id``, ``collection_id`` or ``artifact_id`` of the versions.
    """
    conditions = " AND ".join(f"{column} = ?" for column in columns)
    with store.database.write() as connection:
        connection.execute(
            f"DELETE FROM membership WHERE {conditions}",  # noqa: S608 - the names are constants
            tuple(columns.values()),
        )


def delete_collection(store: Store, collection: Collection) -> Collection:
    """Delete a collection; the artifacts of a sequence are deleted with it.

    Returns:
        The deleted collection.
    """
    with store.database.write():
        if collection.kind == "SEQUENCE":
            for artifact in store.artifacts.where(sequence_id=collection.id):
                delete_artifact(store, artifact)
        remove_versions(store, collection_id=collection.id)
        return store.collections.change(collection.id, state="DELETED")


def delete_artifact(store: Store, artifact: Artifact) -> None:
    """Delete an artifact and all its versions."""
    with store.database.write():
        remove_versions(store, artifact_id=artifact.id)
        store.artifacts.change(artifact.id, state="DELETED", updated_at=now())
