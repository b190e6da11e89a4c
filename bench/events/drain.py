"""The rate at which workers process events, and the latency of an idle worker.

``python -m bench.events.drain [--events N] [--json PATH]`` starts a Redis and workers
whose weighings only wait (``stub_worker``).
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bench.events.stub_worker import WORK_S
from bench.gate import GATE, write_gates
from bus.celery_app import celery_app
from bus.connection import connect
from bus.inbox import Inbox
from bus.ledger import Ledger
from bus.publish import publish, publish_dispatch
from rehearsal.processes import Processes
from rehearsal.redis_server import redis_server
from schemas.errors import PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.weighings import WeighingRecord

_PER_TASK = 100  # events of one dispatch task
_SINGLE = 100  # events whose latency is measured one by one
_LOOK = 0.02  # seconds
_PATIENCE = 900.0  # seconds


class _Bus:
    """A bus with so many stand-in workers, each of which has begun to work."""

    def __init__(self, settings: Settings) -> None:
        self.app = celery_app(settings)
        client = connect(settings.broker_url, settings.redis_master)
        self.inbox, self.ledger = Inbox(client, settings.lease), Ledger(client, settings.lease)

    def drain(self, events: list[ModelVersionEvent]) -> float:
        """Seconds until every one of them has its verdict; all of them wait in the inbox before."""
        for event in events:
            self.inbox.accept(event, [GATE])
        start = time.perf_counter()
        for first in range(0, len(events), _PER_TASK):
            ids = [event.id for event in events[first : first + _PER_TASK]]
            publish_dispatch(self.app, ids)
        deadline = start + _PATIENCE
        while self.inbox.count() or self.ledger.count_unfinished():
            if time.perf_counter() > deadline:
                raise PlatformError("The workers do not drain the bus.", fix="See their logs.")
            time.sleep(_LOOK * 10)
        return time.perf_counter() - start

    def latency(self, event: ModelVersionEvent) -> float:
        """Seconds from when an event is published until a worker runs its weighing."""
        published = time.time()
        publish(self.app, self.inbox, event, [GATE])
        record: WeighingRecord | None = None
        while record is None or record.started_at is None:
            time.sleep(_LOOK)
            record = self.ledger.get(WeighingId.of(GATE.name, event.ref))
        return record.started_at.timestamp() - published


@contextmanager
def _workers(count: int, folder: Path) -> Iterator[_Bus]:
    folder.mkdir()
    with redis_server(folder / "redis") as url:
        environment = {
            **os.environ,
            "CELERY_BROKER_URL": url,
            "WEIGHBRIDGE_GATES": str(write_gates(folder)),
            "WEIGHBRIDGE_RUN_DIR": str(folder / "run"),
            "REMAP_SIGTERM": "SIGQUIT",
        }
        bus = _Bus(Settings.model_validate({"CELERY_BROKER_URL": url}))
        with Processes(folder / "logs", environment) as processes:
            for number in range(count):
                processes.start(f"worker {number}", ["-m", "bench.events.stub_worker"])
            holders: set[str] = set()
            for event in _events("warm-up", 100_000):
                if len(holders) == count:
                    break
                publish(bus.app, bus.inbox, event, [GATE])
                time.sleep(_LOOK)
                holders = {
                    line.note.split()[2] for line in bus.ledger.audit() if line.state == "running"
                }
            bus.drain([])
            yield bus


def _events(collection: str, count: int) -> Iterator[ModelVersionEvent]:
    for number in range(count):
        ref = ArtifactRef.parse(f"org/wandb-registry-R/{collection}:v{number}")
        yield ModelVersionEvent(ref=ref, source="manual")


def measure(folder: Path, count: int) -> dict[str, float]:
    """Drain the events with one and with two workers, and measure single latencies."""
    with _workers(1, folder / "one") as bus:
        latencies = [bus.latency(event) for event in _events("single", _SINGLE)]
        one = bus.drain(list(_events("many", count)))
    with _workers(2, folder / "two") as bus:
        two = bus.drain(list(_events("many", count)))
    percentiles = statistics.quantiles(latencies, n=100)
    return {
        "two_workers_over_one": one / two,
        "drained_by_one_per_s": count / one,
        "drained_by_two_per_s": count / two,
        "work_per_event_s": WORK_S,
        "enqueue_to_start_p50_s": percentiles[49],
        "enqueue_to_start_p99_s": percentiles[98],
    }


@click.command()
@click.option("--events", default=10_000, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures there.")
def main(events: int, path: Path | None) -> None:
    """Print events per second with one and with two workers, and the latency of a start."""
    with tempfile.TemporaryDirectory(prefix="wb-bench-") as folder:
        figures = measure(Path(folder), events)
    for name, value in figures.items():
        print(f"{name:24} {value:10.4g}")
    if path:
        path.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
