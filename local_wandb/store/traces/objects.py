"""Versions of published objects and ops."""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Json, computed_field

from local_wandb.errors import NotFoundError, RequestError
from local_wandb.store.database import Database
from local_wandb.store.traces.digests import check, json_text, value_digest
from local_wandb.store.traces.errors import DeletedError
from local_wandb.store.traces.labels import LATEST, NUMBERED, LabelStore, Version
from local_wandb.store.traces.moments import now
from local_wandb.store.traces.queries import Fields, order
from local_wandb.store.traces.requests import InProject, Listing
from local_wandb.store.traces.sql import Sql, fill, join, one_of

SCHEMA = """
CREATE TABLE IF NOT EXISTS weave_objects (
    project_id TEXT NOT NULL,
    object_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    version_index INTEGER NOT NULL,
    kind TEXT NOT NULL,
    base_object_class TEXT,
    leaf_object_class TEXT,
    val TEXT NOT NULL,
    created_at TEXT NOT NULL,
    deleted_at TEXT,
    PRIMARY KEY (project_id, object_id, digest)
);
DROP VIEW IF EXISTS weave_versions;
CREATE VIEW weave_versions AS
SELECT o.*, length(CAST(val AS BLOB)) AS size_bytes,
    (SELECT json_group_array(label) FROM weave_labels AS l WHERE kind = 'alias'
        AND (l.project_id, l.object_id, l.digest) = (o.project_id, o.object_id, o.digest)
    ) AS aliases,
    (SELECT json_group_array(label) FROM weave_labels AS l WHERE kind = 'tag'
        AND (l.project_id, l.object_id, l.digest) = (o.project_id, o.object_id, o.digest)
    ) AS tags
FROM weave_objects AS o;
"""

_NAME = re.compile(r"[\w.-]{1,128}")


class NewObject(InProject):
    """An object to be published; the digest is what the client expects, if it computed one."""

    object_id: str
    val: Any
    expected_digest: str | None = None


class ObjectFilter(BaseModel):
    """Which versions are wanted; what is None or empty does not narrow it."""

    object_ids: list[str] | None = None
    base_object_classes: list[str] | None = None
    exclude_base_object_classes: list[str] | None = None
    leaf_object_classes: list[str] | None = None
    is_op: bool | None = None
    latest_only: bool | None = None
    tags: list[str] | None = None
    aliases: list[str] | None = None


class ObjectsQuery(Listing):
    """A request for versions of objects."""

    filter: ObjectFilter | None = None


class ObjectVersion(BaseModel):
    """A version as the client reads it (docs/upstream/weave-protocol.md, "Stored objects")."""

    project_id: str
    object_id: str
    digest: str
    version_index: int
    kind: Literal["op", "object"]
    base_object_class: str | None
    leaf_object_class: str | None
    val: Json[Any]
    created_at: str
    deleted_at: str | None
    size_bytes: int
    aliases: Json[list[str]]
    tags: Json[list[str]]

    @computed_field
    def is_latest(self) -> int:
        """1 when it was published last, else 0."""
        return int(LATEST in self.aliases)

    @property
    def id(self) -> Version:
        """What identifies it."""
        return Version(self.project_id, self.object_id, self.digest)


class ObjectStore:
    """Objects and ops: a name has versions, a version is the digest of its value.

    Args:
        database: where they live.
        labels: their tags and aliases.
    """

    def __init__(self, database: Database, labels: LabelStore) -> None:
        self._database = database
        self._labels = labels
        database.create(SCHEMA)

    def create(self, new: NewObject) -> str:
        """Store a version; a value that is there already is the same version, and latest again.

        Args:
            new: the object.

        Returns:
            The digest.

        Raises:
            RequestError: The name is none, or its versions have another base class.
            ConflictError: The value has another digest than expected.
        """
        if not _NAME.fullmatch(new.object_id):
            raise RequestError(f"{new.object_id!r} is no name: 1 to 128 letters, digits, _ . -")
        digest = value_digest(new.val)
        check(digest, new.expected_digest)
        name, classes = (new.project_id, new.object_id), _classes(new.val)
        with self._database.write() as connection:
            self._check_base(new, classes)
            connection.execute(
                "INSERT INTO weave_objects SELECT ?, ?, ?, count(*), ?, ?, ?, ?, ?, NULL"
                " FROM weave_objects WHERE project_id = ? AND object_id = ?"
                " ON CONFLICT DO UPDATE SET deleted_at = NULL",
                (*name, digest, *classes, json_text(new.val), now(), *name),
            )
            self._labels.add("alias", Version(*name, digest), [LATEST])
        return digest

    def read(self, wanted: Version) -> ObjectVersion:
        """One version.

        Args:
            wanted: the version; its digest may also be an alias or `v3`.

        Raises:
            NotFoundError: There is no such version.
            DeletedError: There was one.
        """
        number = NUMBERED.fullmatch(wanted.digest)
        row = self._database.row(
            "SELECT * FROM weave_versions WHERE project_id = ? AND object_id = ? AND (digest = ?"
            " OR version_index = ? OR EXISTS (SELECT 1 FROM json_each(aliases) WHERE value = ?))",
            (*wanted, int(number[1]) if number else None, wanted.digest),
        )
        title = f"{wanted.object_id}:{wanted.digest}"
        if row is None:
            raise NotFoundError(f"{title} does not exist in {wanted.project_id}")
        if row["deleted_at"] is not None:
            raise DeletedError(f"{title} was deleted", row["deleted_at"])
        return ObjectVersion.model_validate(dict(row))

    def query(self, wanted: ObjectsQuery) -> list[ObjectVersion]:
        """Versions, oldest first unless sorted by `object_id` or `created_at`.

        Args:
            wanted: which versions.

        Raises:
            RequestError: They cannot be sorted like that.
        """
        conditions = [
            Sql("project_id = ? AND deleted_at IS NULL", (wanted.project_id,)),
            *_conditions(wanted.filter or ObjectFilter()),
        ]
        sql = fill(
            "SELECT * FROM weave_versions WHERE {} ORDER BY {} LIMIT ? OFFSET ?",
            join(" AND ", conditions),
            order(wanted.sort_by, Fields(_sort_field), "created_at, object_id, version_index"),
        )
        rows = self._database.rows(sql.text, (*sql.args, *wanted.page))
        return [ObjectVersion.model_validate(dict(row)) for row in rows]

    def delete(self, project_id: str, object_id: str, digests: list[str] | None) -> int:
        """Delete versions; `latest` moves to the newest one that is left.

        Args:
            project_id: "entity/project".
            object_id: the object.
            digests: the versions, also as aliases or `v3`; None for all.

        Returns:
            How many were deleted.

        Raises:
            NotFoundError: There is no such version, or it was deleted before.
        """
        with self._database.write() as connection:
            if digests is None:
                doomed = {version.id for version in self._versions(project_id, object_id)}
            else:
                wanted = (Version(project_id, object_id, digest) for digest in digests)
                doomed = {self.read(version).id for version in wanted}
            where = Sql("WHERE project_id = ? AND object_id = ? AND digest = ?")
            gone = fill("UPDATE weave_objects SET deleted_at = ? {}", where)
            connection.executemany(gone.text, [(now(), *version) for version in doomed])
            connection.executemany(fill("DELETE FROM weave_labels {}", where).text, doomed)
            for version in self._versions(project_id, object_id)[-1:]:
                self._labels.add("alias", version.id, [LATEST])
        return len(doomed)

    def _versions(self, project_id: str, object_id: str) -> list[ObjectVersion]:
        wanted = ObjectFilter(object_ids=[object_id])
        return self.query(ObjectsQuery(project_id=project_id, filter=wanted))

    def _check_base(self, new: NewObject, classes: "_Classes") -> None:
        """A name has one base class, but an object may have the name of an op."""
        other = self._database.row(
            "SELECT base_object_class AS base FROM weave_objects WHERE project_id = ?"
            " AND object_id = ? AND deleted_at IS NULL AND kind = ? AND base_object_class IS NOT ?",
            (new.project_id, new.object_id, classes.kind, classes.base),
        )
        if other is not None:
            reason = f"has versions of base class {other['base']}, not {classes.base}"
            raise RequestError(f"{new.object_id} {reason}")


class _Classes(NamedTuple):
    kind: Literal["op", "object"]
    base: str | None = None
    leaf: str | None = None


def _classes(val: Any) -> _Classes:
    """What kind of object a value is (docs/upstream/weave-protocol.md, "Stored objects")."""
    match val:
        case {"_type": "CustomWeaveType", "weave_type": {"type": "Op"}}:
            return _Classes("op")
        case {"_bases": [*bases, "Object" | "BaseObject", "BaseModel"], "_class_name": str(leaf)}:
            return _Classes("object", str(bases[-1]) if bases else leaf, leaf)
    return _Classes("object")


def _conditions(wanted: ObjectFilter) -> Iterator[Sql]:
    yield from one_of("object_id", wanted.object_ids)
    yield from one_of("base_object_class", wanted.base_object_classes)
    yield from one_of("leaf_object_class", wanted.leaf_object_classes)
    for excluded in one_of("coalesce(base_object_class, '')", wanted.exclude_base_object_classes):
        yield fill("NOT {}", excluded)
    if wanted.is_op is not None:
        yield Sql("kind = ?", ("op" if wanted.is_op else "object",))
    if wanted.latest_only:
        yield Sql("EXISTS (SELECT 1 FROM json_each(aliases) WHERE value = ?)", (LATEST,))
    for listed in one_of("value", wanted.tags):
        yield fill("EXISTS (SELECT 1 FROM json_each(tags) WHERE {})", listed)
    for listed in one_of("value", wanted.aliases):
        yield fill("EXISTS (SELECT 1 FROM json_each(aliases) WHERE {})", listed)


def _sort_field(name: str) -> Sql:
    if name not in ("object_id", "created_at"):
        raise RequestError(f"objects cannot be sorted by {name!r}")
    return Sql(name)
