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
from local_wandb.store.traces.queries import Fields, order
from local_wandb.store.traces.requests import InProject, Listing
from local_wandb.store.traces.sql import Sql, fill, in_list, join
from local_wandb.store.traces.timestamps import now

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
    """An object to publish; ``expected_digest`` is the digest that the client computed, if any."""

    object_id: str
    val: Any
    expected_digest: str | None = None


class ObjectFilter(BaseModel):
    """The conditions of a query for versions; None or an empty list is no condition."""

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
        """1 for the version that was published last, otherwise 0."""
        return int(LATEST in self.aliases)

    @property
    def id(self) -> Version:
        """The identity of the version."""
        return Version(self.project_id, self.object_id, self.digest)


class ObjectStore:
    """Objects and ops: a name has versions, and a version is identified by the digest of its value.

    Args:
        database: The table of versions.
        labels: The tags and aliases of versions.
    """

    def __init__(self, database: Database, labels: LabelStore) -> None:
        self._database = database
        self._labels = labels
        database.create(SCHEMA)

    def create(self, new: NewObject) -> str:
        """Store a version; a value that exists already becomes ``latest`` again.

        Returns:
            The digest.

        Raises:
            RequestError: The name is invalid, or its versions have another base class.
            ConflictError: The value has another digest than expected.
        """
        if not _NAME.fullmatch(new.object_id):
            raise RequestError(f"{new.object_id!r} is not a name: 1 to 128 letters, digits, _ . -")
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
        """Return one version.

        Args:
            wanted: The version; its digest may also be an alias or ``v3``.

        Raises:
            NotFoundError: There is no such version.
            DeletedError: The version was deleted.
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
        """Return versions, oldest first unless sorted by ``object_id`` or ``created_at``.

        Raises:
            RequestError: A sort key is not supported.
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
        """Delete versions; ``latest`` moves to the newest remaining one.

        Args:
            digests: The versions, also as aliases or ``v3``; None deletes all.

        Returns:
            The number of deleted versions.

        Raises:
            NotFoundError: There is no such version, or it was deleted before.
        """
        with self._database.write() as connection:
            if digests is None:
                deleted = {version.id for version in self._versions(project_id, object_id)}
            else:
                wanted = (Version(project_id, object_id, digest) for digest in digests)
                deleted = {self.read(version).id for version in wanted}
            where = Sql("WHERE project_id = ? AND object_id = ? AND digest = ?")
            mark_deleted = fill("UPDATE weave_objects SET deleted_at = ? {}", where)
            connection.executemany(mark_deleted.text, [(now(), *version) for version in deleted])
            connection.executemany(fill("DELETE FROM weave_labels {}", where).text, deleted)
            for version in self._versions(project_id, object_id)[-1:]:
                self._labels.add("alias", version.id, [LATEST])
        return len(deleted)

    def _versions(self, project_id: str, object_id: str) -> list[ObjectVersion]:
        wanted = ObjectFilter(object_ids=[object_id])
        return self.query(ObjectsQuery(project_id=project_id, filter=wanted))

    def _check_base(self, new: NewObject, classes: "_Classes") -> None:
        """Require one base class per name; but an object may have the name of an op."""
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
    """Return the kind and classes of a value.

    Source: docs/upstream/weave-protocol.md, "Stored objects".
    """
    match val:
        case {"_type": "CustomWeaveType", "weave_type": {"type": "Op"}}:
            return _Classes("op")
        case {"_bases": [*bases, "Object" | "BaseObject", "BaseModel"], "_class_name": str(leaf)}:
            return _Classes("object", str(bases[-1]) if bases else leaf, leaf)
    return _Classes("object")


def _conditions(wanted: ObjectFilter) -> Iterator[Sql]:
    yield from in_list("object_id", wanted.object_ids)
    yield from in_list("base_object_class", wanted.base_object_classes)
    yield from in_list("leaf_object_class", wanted.leaf_object_classes)
    for excluded in in_list("coalesce(base_object_class, '')", wanted.exclude_base_object_classes):
        yield fill("NOT {}", excluded)
    if wanted.is_op is not None:
        yield Sql("kind = ?", ("op" if wanted.is_op else "object",))
    if wanted.latest_only:
        yield Sql("EXISTS (SELECT 1 FROM json_each(aliases) WHERE value = ?)", (LATEST,))
    for listed in in_list("value", wanted.tags):
        yield fill("EXISTS (SELECT 1 FROM json_each(tags) WHERE {})", listed)
    for listed in in_list("value", wanted.aliases):
        yield fill("EXISTS (SELECT 1 FROM json_each(aliases) WHERE {})", listed)


def _sort_field(name: str) -> Sql:
    if name not in ("object_id", "created_at"):
        raise RequestError(f"objects cannot be sorted by {name!r}")
    return Sql(name)
