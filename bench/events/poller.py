"""What a look at the Registry costs, with 1,000 collections that hold 20,000 versions.

`python -m bench.events.poller [--json PATH]` writes them into a local W&B's store, so that none has
to be logged, and counts requests and seconds of a look at everything, and of looks that find 0, 1
and 100 new versions.
"""

import json
import logging
import os
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import click
import structlog

from bench.gate import GATE, write_gates
from bus.bus import Bus
from local_wandb import LocalWandb, LocalWandbConfig
from local_wandb.store.clock import seconds_ago
from local_wandb.store.projects import ensure_project, ensure_type
from local_wandb.store.store import Store
from producers.poller import Poller, WatchedRegistry
from rehearsal.redis_server import redis_server
from schemas.settings import Settings

_COLLECTIONS = 1_000
_VERSIONS = 20_000
_NEW = (0, 1, 100)
_SPACING = timedelta(minutes=10).total_seconds()  # between two versions; none is as good as new

_REGISTRY = WatchedRegistry("wandb32", "wandb-registry-Bench")
_GATE = GATE.model_copy(update={"watch": (f"{_REGISTRY}/*",)})


class Look(NamedTuple):
    """What one look cost.

    Attributes:
        kind: what there was to find.
        requests: that W&B answered.
        seconds: until what was found was on the bus.
        published: versions that it put on the bus.
    """

    kind: str
    requests: int
    seconds: float
    published: int


class Registry:
    """A registry whose collections all get versions in turn.

    Args:
        store: of the local W&B.
    """

    def __init__(self, store: Store) -> None:
        self._database = store.database
        team, _ = ensure_project(store, "wandb-smle", "bench")
        registry, _ = ensure_project(store, *_REGISTRY)
        self._sequence = self._collections(team.id, ensure_type(store, team, "model").id, 1)[0]
        type_id = ensure_type(store, registry, "model").id
        self._linked_to = self._collections(registry.id, type_id, _COLLECTIONS)
        self._count = 0

    def link(self, versions: int, spacing: float = 0.0) -> None:
        """Link new versions.

        Args:
            spacing: seconds between two of them, and between the last and now.
        """
        with self._database.write() as connection:
            for left in range(versions, 0, -1):
                at, number = seconds_ago(left * spacing), self._count
                (artifact,) = connection.execute(
                    "INSERT INTO artifact (sequence_id, digest, state, created_at, updated_at)"
                    " VALUES (?, ?, 'COMMITTED', ?, ?) RETURNING id",
                    (self._sequence, f"{number:032x}", at, at),
                ).fetchone()
                turn, place = divmod(number, _COLLECTIONS)
                connection.execute(
                    "INSERT INTO membership (collection_id, artifact_id, version, created_at)"
                    " VALUES (?, ?, ?, ?)",
                    (self._linked_to[place], artifact, turn, at),
                )
                self._count += 1

    def _collections(self, project_id: int, type_id: int, count: int) -> list[int]:
        kind, at = "PORTFOLIO" if count > 1 else "SEQUENCE", seconds_ago(_VERSIONS * _SPACING)
        with self._database.write() as connection:
            return [
                connection.execute(
                    "INSERT INTO collection"
                    " (project_id, type_id, name, kind, created_at, updated_at)"
                    " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
                    (project_id, type_id, f"collection {number}", kind, at, at),
                ).fetchone()["id"]
                for number in range(count)
            ]


def _look(poller: Poller, kind: str) -> Look:
    before, start = poller.graphql.requests, time.perf_counter()
    published = len(poller.scan(_REGISTRY))
    seconds = time.perf_counter() - start
    return Look(kind, poller.graphql.requests - before, seconds, published)


def _measure(registry: Registry, bus: Bus) -> list[Look]:
    poller = Poller(bus, threading.Event())
    measured = [_look(poller, "everything")]
    poller.scan(_REGISTRY)  # asks how W&B searches, once
    for count in _NEW:
        registry.link(count)
        measured.append(_look(poller, f"{count} new"))
    return measured


def looks() -> list[Look]:
    """Start a local W&B with all these versions, and a Redis, and look."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gates = write_gates(folder, _GATE)
        store = Store(folder / "wandb")
        registry = Registry(store)
        registry.link(_VERSIONS, _SPACING)
        with (
            LocalWandb(LocalWandbConfig(data_dir=folder / "wandb")) as server,
            redis_server(folder / "redis") as url,
        ):
            os.environ.update(server.environment(folder / "client"))
            os.environ.update(CELERY_BROKER_URL=url, WEIGHBRIDGE_GATES=str(gates))
            with Bus.open(Settings(backfill="none")) as bus:
                measured = _measure(registry, bus)
        store.database.close()
    return measured


@click.command()
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures there.")
def main(path: Path | None) -> None:
    """Print requests and seconds of each look."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    measured = looks()
    print(f"{'to find':12} {'requests':>8} {'seconds':>8} {'published':>9}")
    for look in measured:
        print(f"{look.kind:12} {look.requests:8} {look.seconds:8.3f} {look.published:9}")
    if path:
        figures = {
            f"poller_{look.kind.replace(' ', '_')}_{unit}": value
            for look in measured
            for unit, value in (("requests", look.requests), ("s", look.seconds))
        }
        path.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
