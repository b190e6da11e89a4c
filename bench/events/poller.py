"""The cost of a scan of the Registry, with 20,000 versions in 1,000 collections.

``python -m bench.events.poller [--json PATH]`` writes the versions into a local W&B's store,
which is faster than logging them. It counts the requests and seconds of a full scan, and of scans
that find 0, 1 and 100 new versions.
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
_SPACING = timedelta(minutes=10).total_seconds()  # between two versions, so that none counts as new

_REGISTRY = WatchedRegistry("wandb32", "wandb-registry-Bench")
_GATE = GATE.model_copy(update={"watch": (f"{_REGISTRY}/*",)})


class Scan(NamedTuple):
    """The cost of one scan.

    Attributes:
        kind: The versions that the scan can find.
        requests: The number of requests to W&B.
        seconds: The time until the found versions are on the bus.
        published: The number of versions that the scan published.
    """

    kind: str
    requests: int
    seconds: float
    published: int


class Registry:
    """A registry whose collections get versions in turn.

    Args:
        store: The store of the local W&B.
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
            versions: The number of versions.
            spacing: Seconds between two versions, and between the last one and now.
        """
        with self._database.write() as connection:
            for left in range(versions, 0, -1):
                at, number = seconds_ago(left * spacing), self._count
                (artifact,) = connection.execute(
                    "INSERT INTO artifact (sequence_id, digest, state, created_at, updated_at)"
                    " VALUES (?, ?, 'COMMITTED', ?, ?) RETURNING id",
                    (self._sequence, f"{number:032x}", at, at),
                ).fetchone()
                version, collection = divmod(number, _COLLECTIONS)
                connection.execute(
                    "INSERT INTO membership (collection_id, artifact_id, version, created_at)"
                    " VALUES (?, ?, ?, ?)",
                    (self._linked_to[collection], artifact, version, at),
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


def _scan(poller: Poller, kind: str) -> Scan:
    before, start = poller.graphql.requests, time.perf_counter()
    published = len(poller.scan(_REGISTRY))
    seconds = time.perf_counter() - start
    return Scan(kind, poller.graphql.requests - before, seconds, published)


def _measure(registry: Registry, bus: Bus) -> list[Scan]:
    poller = Poller(bus, threading.Event())
    measured = [_scan(poller, "everything")]
    poller.scan(_REGISTRY)  # includes the one request for W&B's search features
    for count in _NEW:
        registry.link(count)
        measured.append(_scan(poller, f"{count} new"))
    return measured


def measure() -> list[Scan]:
    """Start a Redis and a local W&B with all these versions, and scan it."""
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
    """Print requests and seconds of each scan."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    measured = measure()
    print(f"{'to find':12} {'requests':>8} {'seconds':>8} {'published':>9}")
    for scan in measured:
        print(f"{scan.kind:12} {scan.requests:8} {scan.seconds:8.3f} {scan.published:9}")
    if path:
        figures = {
            f"poller_{scan.kind.replace(' ', '_')}_{unit}": value
            for scan in measured
            for unit, value in (("requests", scan.requests), ("s", scan.seconds))
        }
        path.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
