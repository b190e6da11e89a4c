"""Tags and aliases of object versions: a tag may be on many versions, an alias only on one."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from local_wandb.errors import RequestError
from local_wandb.store.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS weave_labels (
    project_id TEXT NOT NULL,
    object_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (project_id, object_id, digest, kind, label)
);
CREATE UNIQUE INDEX IF NOT EXISTS weave_aliases
ON weave_labels (project_id, object_id, label) WHERE kind = 'alias';
"""

#: The alias of the version that was published last.
LATEST = "latest"

#: A version number in place of a digest.
NUMBERED = re.compile(r"v(\d{1,9})")

Kind = Literal["tag", "alias"]


class Version(NamedTuple):
    """The identity of a version of an object."""

    project_id: str
    object_id: str
    digest: str


class LabelStore:
    """Tags and aliases."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(SCHEMA)

    def add(self, kind: Kind, version: Version, labels: Sequence[str]) -> None:
        """Put labels on a version; an alias leaves the version that had it."""
        rows = [(*version, kind, label) for label in labels]
        with self._database.write() as connection:
            sql = "INSERT OR REPLACE INTO weave_labels VALUES (?, ?, ?, ?, ?)"
            connection.executemany(sql, rows)

    def remove(self, kind: Kind, version: Version, labels: Sequence[str]) -> None:
        """Remove labels from a version.

        Args:
            kind: ``tag`` or ``alias``.
            version: The version; aliases are removed from any version of the object.
            labels: The labels; unknown ones are ignored.
        """
        rows = [(*version, kind, label) for label in labels]
        with self._database.write() as connection:
            connection.executemany(
                "DELETE FROM weave_labels WHERE project_id = ? AND object_id = ?"
                " AND (digest = ? OR kind = 'alias') AND kind = ? AND label = ?",
                rows,
            )

    def names(self, kind: Kind, project_id: str) -> list[str]:
        """Return every label of a project; ``latest`` is one of the aliases."""
        rows = self._database.rows(
            "SELECT DISTINCT label FROM weave_labels"
            " WHERE project_id = ? AND kind = ? ORDER BY label",
            (project_id, kind),
        )
        return [row["label"] for row in rows]


def check_aliases(aliases: Sequence[str]) -> None:
    """Refuse aliases that a user cannot set or remove.

    Raises:
        RequestError: An alias is empty or reserved.
    """
    for alias in aliases:
        if not alias or alias == LATEST or NUMBERED.fullmatch(alias):
            raise RequestError(f"{alias!r} is reserved and cannot be set or removed as an alias")
