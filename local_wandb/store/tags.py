"""Tags of artifacts and collections."""

from collections.abc import Iterable

from local_wandb.store.rows import Artifact, Collection
from local_wandb.store.store import Store


def tags_of(store: Store, owner: Artifact | Collection) -> list[str]:
    """Return the tags of an artifact or a collection, sorted."""
    rows = store.database.rows(
        f"SELECT name FROM {_table(owner)} WHERE owner_id = ? ORDER BY name",  # noqa: S608
        (owner.id,),
    )
    return [row["name"] for row in rows]


def add_tags(store: Store, owner: Artifact | Collection, names: Iterable[str]) -> None:
    """Tag an artifact or a collection; existing tags stay."""
    with store.database.write() as connection:
        connection.executemany(
            f"INSERT OR IGNORE INTO {_table(owner)} (owner_id, name) VALUES (?, ?)",  # noqa: S608
            [(owner.id, name) for name in names],
        )


def remove_tags(store: Store, owner: Artifact | Collection, names: Iterable[str]) -> None:
    """Remove tags from an artifact or a collection."""
    with store.database.write() as connection:
        connection.executemany(
            f"DELETE FROM {_table(owner)} WHERE owner_id = ? AND name = ?",  # noqa: S608
            [(owner.id, name) for name in names],
        )


def _table(owner: Artifact | Collection) -> str:
    return "artifact_tag" if isinstance(owner, Artifact) else "collection_tag"
