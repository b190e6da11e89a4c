"""A long list of versions, read from the database slice by slice."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

from local_wandb.store.rows import Membership
from local_wandb.store.store import Store


@dataclass(frozen=True)
class Condition:
    """SQL over a version ``t`` and its artifact ``a``, with the values of its placeholders."""

    sql: str
    values: tuple[Any, ...]


class VersionList(Sequence[Membership]):
    """The versions of some collections, newest first.

    Args:
        collection_ids: The primary keys of the collections.
        condition: The condition that the versions meet.
    """

    def __init__(self, store: Store, collection_ids: Sequence[int], condition: Condition) -> None:
        self._store = store
        self._rest = (
            "JOIN artifact a ON a.id = t.artifact_id"  # noqa: S608 - no text of a request
            f" WHERE {condition.sql} AND t.collection_id IN (SELECT value FROM json_each(?))"
        )
        self._values = (*condition.values, json.dumps(list(collection_ids)))

    def __len__(self) -> int:
        """Return the number of versions."""
        return self._count

    @overload
    def __getitem__(self, where: int) -> Membership: ...
    @overload
    def __getitem__(self, where: slice) -> Sequence[Membership]: ...
    def __getitem__(self, where: int | slice) -> Membership | Sequence[Membership]:
        """Return the version at a position, or those of a slice."""
        if isinstance(where, int):
            return self[where : where + 1][0]
        start, stop, _ = where.indices(len(self))
        rest = f"{self._rest} ORDER BY t.id DESC LIMIT ? OFFSET ?"
        return self._store.memberships.joined(rest, *self._values, max(0, stop - start), start)

    @cached_property
    def _count(self) -> int:
        row = self._store.database.row(
            f"SELECT count(*) AS n FROM membership t {self._rest}",  # noqa: S608 - the names are constants
            self._values,
        )
        return int(row["n"]) if row else 0
