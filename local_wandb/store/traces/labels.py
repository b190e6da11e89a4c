"""Tags and aliases of object versions. A tag may be on many versions, an alias only on one."""

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

#: The alias that follows the version that was published last.
LATEST = "latest"

#: How a version is addressed by its number.
NUMBERED = re.compile(r"v(\d{1,9})")

Kind = Literal["tag", "alias"]


class Version(NamedTuple):
    """What identifies a version of an object."""

    project_id: str
    object_id: str
    digest: str


class LabelStore:
    """Tags and aliases.

    Args:
        database: where they live.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(SCHEMA)

    def add(self, kind: Kind, version: Version, labels: Sequence[str]) -> None:
        """Put labels on a version; an alias leaves the version that it was on.

        Args:
            kind: what the labels are.
            version: the version.
            labels: the labels.
        """
        rows = [(*version, kind, label) for label in labels]
        with self._database.write() as connection:
            sql = "INSERT OR REPLACE INTO weave_labels VALUES (?, ?, ?, ?, ?)"
            connection.executemany(sql, rows)

    def remove(self, kind: Kind, version: Version, labels: Sequence[str]) -> None:
        """Take labels off a version.

        Args:
            kind: what the labels are.
            version: the version; aliases leave whichever version of the object they are on.
            labels: the labels; those that are not there are ignored.
        """
        rows = [(*version, kind, label) for label in labels]
        with self._database.write() as connection:
            connection.executemany(
                "DELETE FROM weave_labels WHERE project_id = ? AND object_id = ?"
                " AND (digest = ? OR kind = 'alias') AND kind = ? AND label = ?",
                rows,
            )

    def names(self, kind: Kind, project_id: str) -> list[str]:
        """Every label of a project; `latest` is one of the aliases.

        Args:
            kind: what the labels are.
            project_id: "entity/project".
        """
        rows = self._database.rows(
            "SELECT DISTINCT label FROM weave_labels"
            " WHERE project_id = ? AND kind = ? ORDER BY label",
            (project_id, kind),
        )
        return [row["label"] for row in rows]


def check_aliases(aliases: Sequence[str]) -> None:
    """Refuse aliases that a user cannot set or remove.

    Args:
        aliases: the aliases.

    Raises:
        RequestError: One is reserved.
    """
    for alias in aliases:
        if not alias or alias == LATEST or NUMBERED.fullmatch(alias):
            raise RequestError(f"{alias!r} is reserved and cannot be set or removed as an alias")
