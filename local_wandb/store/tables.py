"""The tables of runs, artifacts, registries and automations, with typed access to each."""

from typing import Any, Generic, TypeVar

from local_wandb.errors import NotFoundError
from local_wandb.store.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS project (
  id INTEGER PRIMARY KEY, entity TEXT NOT NULL, name TEXT NOT NULL, description TEXT, access TEXT,
  all_types INTEGER NOT NULL DEFAULT 1, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
  UNIQUE (entity, name));

CREATE TABLE IF NOT EXISTS artifact_type (
  id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES project, name TEXT NOT NULL,
  description TEXT, created_at TEXT NOT NULL,
  UNIQUE (project_id, name));

CREATE TABLE IF NOT EXISTS run (
  id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES project, name TEXT NOT NULL,
  display_name TEXT, description TEXT, notes TEXT, last_state TEXT NOT NULL DEFAULT 'running',
  config TEXT NOT NULL DEFAULT '{}', summary TEXT NOT NULL DEFAULT '{}',
  tags TEXT NOT NULL DEFAULT '[]', group_name TEXT, job_type TEXT, commit_hash TEXT, host TEXT,
  created_at TEXT NOT NULL, heartbeat_at TEXT NOT NULL,
  UNIQUE (project_id, name));

CREATE TABLE IF NOT EXISTS run_line (
  run_id INTEGER NOT NULL REFERENCES run, stream TEXT NOT NULL, number INTEGER NOT NULL,
  line TEXT NOT NULL,
  PRIMARY KEY (run_id, stream, number)) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS run_file (
  id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES run, name TEXT NOT NULL, md5 TEXT,
  size INTEGER NOT NULL DEFAULT 0, updated_at TEXT NOT NULL,
  UNIQUE (run_id, name));

CREATE TABLE IF NOT EXISTS collection (
  id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES project,
  type_id INTEGER NOT NULL REFERENCES artifact_type, name TEXT NOT NULL, kind TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'READY', description TEXT, next_version INTEGER NOT NULL DEFAULT 0,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS collection_name ON collection (project_id, name)
  WHERE state = 'READY';

CREATE TABLE IF NOT EXISTS artifact (
  id INTEGER PRIMARY KEY, sequence_id INTEGER NOT NULL REFERENCES collection,
  run_id INTEGER REFERENCES run, digest TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'PENDING',
  description TEXT, metadata TEXT, ttl_s INTEGER, history_step INTEGER,
  size INTEGER NOT NULL DEFAULT 0, file_count INTEGER NOT NULL DEFAULT 0,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS artifact_digest ON artifact (sequence_id, digest);
CREATE INDEX IF NOT EXISTS artifact_run ON artifact (run_id);

-- The id that a client gave an artifact, also when the contents turned out to exist already.
CREATE TABLE IF NOT EXISTS client (
  client_id TEXT PRIMARY KEY, artifact_id INTEGER NOT NULL REFERENCES artifact);

-- The aliases that a pending artifact gets when it is committed.
CREATE TABLE IF NOT EXISTS wanted_alias (
  artifact_id INTEGER NOT NULL REFERENCES artifact, alias TEXT NOT NULL,
  PRIMARY KEY (artifact_id, alias)) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS manifest (
  id INTEGER PRIMARY KEY, artifact_id INTEGER NOT NULL UNIQUE REFERENCES artifact,
  name TEXT NOT NULL, digest TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS artifact_file (
  id INTEGER PRIMARY KEY, artifact_id INTEGER NOT NULL REFERENCES artifact, path TEXT NOT NULL,
  digest TEXT NOT NULL, size INTEGER NOT NULL, ref TEXT,
  UNIQUE (artifact_id, path));

CREATE TABLE IF NOT EXISTS membership (
  id INTEGER PRIMARY KEY, collection_id INTEGER NOT NULL REFERENCES collection,
  artifact_id INTEGER NOT NULL REFERENCES artifact, version INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  UNIQUE (collection_id, artifact_id), UNIQUE (collection_id, version));
CREATE INDEX IF NOT EXISTS membership_artifact ON membership (artifact_id);

CREATE TABLE IF NOT EXISTS alias (
  id INTEGER PRIMARY KEY, collection_id INTEGER NOT NULL REFERENCES collection,
  membership_id INTEGER NOT NULL REFERENCES membership ON DELETE CASCADE, alias TEXT NOT NULL,
  UNIQUE (collection_id, alias));
CREATE INDEX IF NOT EXISTS alias_membership ON alias (membership_id);

CREATE TABLE IF NOT EXISTS artifact_tag (
  owner_id INTEGER NOT NULL REFERENCES artifact, name TEXT NOT NULL,
  PRIMARY KEY (owner_id, name)) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS collection_tag (
  owner_id INTEGER NOT NULL REFERENCES collection, name TEXT NOT NULL,
  PRIMARY KEY (owner_id, name)) WITHOUT ROWID;

-- Lineage: the run read the artifact.
CREATE TABLE IF NOT EXISTS used (
  run_id INTEGER NOT NULL REFERENCES run, artifact_id INTEGER NOT NULL REFERENCES artifact,
  PRIMARY KEY (run_id, artifact_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS used_artifact ON used (artifact_id);

CREATE TABLE IF NOT EXISTS webhook_integration (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, url_endpoint TEXT NOT NULL);

CREATE TABLE IF NOT EXISTS automation (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT, enabled INTEGER NOT NULL,
  scope_type TEXT NOT NULL, scope_id INTEGER NOT NULL, event_type TEXT NOT NULL,
  event_filter TEXT NOT NULL, payload TEXT NOT NULL,
  integration_id INTEGER NOT NULL REFERENCES webhook_integration,
  created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
"""

RowT = TypeVar("RowT")


class Table(Generic[RowT]):
    """A table whose rows are dataclasses.

    Column names and conditions must come from this package; only values may come from requests.

    Args:
        database: The database of the table.
        row: The dataclass of one row; its fields are the columns.
        noun: The name of a row in error messages.
    """

    def __init__(self, database: Database, name: str, row: type[RowT], noun: str) -> None:
        self._database = database
        self._name = name
        self._row = row
        self._noun = noun

    def where(self, **columns: Any) -> list[RowT]:
        """Return the rows with these values, oldest first.

        Args:
            columns: The value of each column, by name.
        """
        conditions = " AND ".join(f"t.{column} = ?" for column in columns)
        return self.joined(f"WHERE {conditions} ORDER BY t.id", *columns.values())

    def joined(self, rest: str, *args: Any) -> list[RowT]:
        """Return the rows of this table that a longer query finds.

        Args:
            rest: What follows ``SELECT t.* FROM <table> t``.
            args: The values of its placeholders.
        """
        sql = f"SELECT t.* FROM {self._name} t {rest}"  # noqa: S608
        return [self._row(**row) for row in self._database.rows(sql, args)]

    def find(self, **columns: Any) -> RowT | None:
        """Return the oldest row with these values, or None.

        Args:
            columns: The value of each column, by name.
        """
        return next(iter(self.where(**columns)), None)

    def get(self, row_id: int) -> RowT:
        """Return the row with this primary key.

        Raises:
            NotFoundError: There is no such row.
        """
        row = self.find(id=row_id)
        if row is None:
            raise NotFoundError(f"{self._noun} {row_id} not found")
        return row

    def add(self, **columns: Any) -> RowT:
        """Insert a row.

        Args:
            columns: The value of each column, by name; the others take their defaults.

        Returns:
            The stored row.
        """
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        sql = f"INSERT INTO {self._name} ({names}) VALUES ({marks}) RETURNING id"  # noqa: S608
        with self._database.write() as connection:
            row_id: int = connection.execute(sql, tuple(columns.values())).fetchone()["id"]
            return self.get(row_id)

    def change(self, row_id: int, **columns: Any) -> RowT:
        """Update a row.

        Args:
            row_id: The primary key.
            columns: The new value of each column, by name; None leaves a column unchanged, because
                null means that to W&B (docs/upstream/wandb-protocol.md, "Ids, scalars and nulls").

        Returns:
            The changed row.
        """
        given = {name: value for name, value in columns.items() if value is not None}
        if given:
            changes = ", ".join(f"{name} = ?" for name in given)
            with self._database.write() as connection:
                connection.execute(
                    f"UPDATE {self._name} SET {changes} WHERE id = ?",  # noqa: S608
                    (*given.values(), row_id),
                )
        return self.get(row_id)
