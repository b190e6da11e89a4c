"""A list of versions that is read in slices equals the list that is read at once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_wandb.graphql.conditions import condition
from local_wandb.graphql.documents import version_document
from local_wandb.graphql.filters import select
from local_wandb.store.projects import ensure_project, ensure_type
from local_wandb.store.rows import Collection
from local_wandb.store.store import Store
from local_wandb.store.version_list import VersionList
from local_wandb.store.versions import add_version, ensure_collection

_NOON = "2026-01-31T12:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.database.close()


@pytest.fixture
def collections(store: Store) -> list[Collection]:
    """Two collections with versions from around noon, and one that no test queries."""
    project, _ = ensure_project(store, "org", "wandb-registry-R")
    type_ = ensure_type(store, project, "model")
    made = [ensure_collection(store, project, type_, name, "PORTFOLIO") for name in "abc"]
    for hour in range(10, 15):
        artifact = store.artifacts.add(
            sequence_id=made[0].id,
            digest=f"{hour}",
            state="DELETED" if hour == 14 else "COMMITTED",
            created_at=f"2026-01-31T{hour}:00:00Z",
            updated_at=f"2026-01-31T{24 - hour}:00:00Z",
        )
        add_version(store, made[hour % 3], artifact)
    return made[:2]


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"created_at": {"$gt": _NOON}},
        {"createdAt": _NOON},
        {"$or": [{"created_at": {"$gte": _NOON}}, {"updated_at": {"$gt": _NOON}}]},
        {"$and": [{"created_at": {"$gt": "2026"}}, {"updated_at": {"$lte": _NOON}}]},
        {"created_at": {"$gt": "2026-01-31T10:00:00Z", "$lt": "2026-01-31T14:00:00Z"}},
        {"state": "COMMITTED", "updated_at": {"$eq": _NOON}},
        {"$or": [{}, {"state": "DELETED"}]},
    ],
)
def test_sql_and_documents_give_the_same_versions(
    store: Store, collections: list[Collection], filters: dict[str, Any]
) -> None:
    text = json.dumps(filters)
    met = condition(text)
    assert met is not None
    every = store.memberships.joined(
        "WHERE t.collection_id IN (?, ?) ORDER BY t.id", *(one.id for one in collections)
    )
    found = VersionList(store, [one.id for one in collections], met)
    wanted = select(every, lambda version: version_document(store, version), text)
    assert (list(found), len(found)) == (wanted, len(wanted))


def test_a_slice_reads_only_its_rows(store: Store, collections: list[Collection]) -> None:
    met = condition(None)
    assert met is not None
    found = VersionList(store, [one.id for one in collections], met)
    assert len(found) == 3
    assert list(found[1:9]) == list(found)[1:]
    assert found[5:9] == []
    assert found[0] == next(iter(found))


@pytest.mark.parametrize(
    "filters",
    [
        {"tag": "x"},
        {"created_at": {"$regex": "2026"}},
        {"created_at": {"$gt": 3}},
        {"$nor": [{"state": "COMMITTED"}]},
        {"$or": []},
        {"$or": [{"state": "COMMITTED"}, {"tag": "x"}]},
        [1],
    ],
)
def test_a_filter_that_sql_cannot_answer_is_left_to_the_documents(filters: Any) -> None:
    assert condition(json.dumps(filters)) is None
