"""Resolves references to values (docs/upstream/weave-protocol.md, "Digests and references")."""

import re
from typing import Any
from urllib.parse import unquote

from local_wandb.errors import RequestError
from local_wandb.store.traces.labels import Version
from local_wandb.store.traces.objects import ObjectStore
from local_wandb.store.traces.tables import TableStore

_OBJECT = re.compile(r"weave:///([^/]+/[^/]+)/(?:object|op)/([^/:]+):([^/:]+)((?:/[^/]+/[^/]*)*)")
_TABLE = re.compile(r"weave:///([^/]+/[^/]+)/table/[0-9a-f]+")
_INDEX = re.compile(r"[0-9]{1,9}")


class RefStore:
    """Reads objects, and parts of them, by reference."""

    def __init__(self, objects: ObjectStore, tables: TableStore) -> None:
        self._objects = objects
        self._tables = tables

    def read(self, uri: str) -> Any:
        """Return the value of a reference, which may lead through other references.

        Args:
            uri: ``weave:///entity/project/object/NAME:VERSION/attr/rows/id/DIGEST``: after the
                version come pairs of an edge (key, attr, index or id) and its value.

        Returns:
            The value; None if the object has no such part.

        Raises:
            RequestError: The text is not a reference to an object or an op.
            NotFoundError: The object or the row does not exist.
        """
        match = _OBJECT.fullmatch(uri)
        if match is None:
            raise RequestError(f"{uri!r} is not a reference to an object or an op")
        project_id, object_id, version, extra = match.groups()
        wanted = Version(project_id, unquote(object_id), unquote(version))
        value = self._objects.read(wanted).val
        steps = [unquote(part) for part in extra.split("/")[1:]]
        for edge, key in zip(steps[::2], steps[1::2], strict=True):
            value = self._step(value, edge, key)
        return value

    def _step(self, value: Any, edge: str, key: str) -> Any:
        if isinstance(value, str) and (table := _TABLE.fullmatch(value)):
            return self._tables.row(table[1], key) if edge == "id" else None
        if isinstance(value, str) and _OBJECT.fullmatch(value):
            value = self.read(value)
        match value, edge:
            case dict(), "key" | "attr":
                return value.get(key)
            case list(), "index":
                inside = _INDEX.fullmatch(key) and int(key) < len(value)
                return value[int(key)] if inside else None
        return None
