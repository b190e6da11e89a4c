"""Versions and runs below the SDK: version numbers under load, and crashed runs."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_wandb.store.clock import now
from local_wandb.store.projects import ensure_project, ensure_type
from local_wandb.store.store import Store
from local_wandb.store.versions import (
    add_version,
    ensure_collection,
    find_version,
    set_aliases,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.database.close()


def test_versions_that_are_linked_concurrently_get_distinct_numbers(store: Store) -> None:
    project, _ = ensure_project(store, "wandb32", "wandb-registry-R")
    type_ = ensure_type(store, project, "model")
    sequence = ensure_collection(store, project, type_, "source", "SEQUENCE")
    portfolio = ensure_collection(store, project, type_, "Models", "PORTFOLIO")

    def link(number: int) -> int:
        artifact = store.artifacts.add(
            sequence_id=sequence.id, digest=str(number), created_at=now(), updated_at=now()
        )
        version, _ = add_version(store, portfolio, artifact)
        set_aliases(store, version, {"latest"})
        return version.version

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(link, range(50)))
    assert sorted(numbers) == list(range(50))
    assert find_version(store, portfolio, "latest") is not None
    assert len(store.aliases.where(collection_id=portfolio.id)) == 1


@pytest.mark.parametrize(
    ("clock", "state"), [(lambda: "2020-01-01T00:00:00Z", "crashed"), (now, "running")]
)
def test_a_run_without_heartbeats_has_crashed(
    store: Store, clock: Callable[[], str], state: str
) -> None:
    heartbeat = clock()  # not at collection, which may be long ago
    project, _ = ensure_project(store, "wandb-smle", "p")
    run = store.runs.add(
        project_id=project.id, name="r", created_at=heartbeat, heartbeat_at=heartbeat
    )
    assert run.state == state
