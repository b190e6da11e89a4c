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
from bus.bus import Bus
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


def _drain(bus: Bus, events: list[ModelVersionEvent]) -> float:
    """Seconds until every one of them has its verdict; all of them wait in the inbox before."""
    for event in events:
        bus.inbox.accept(event, [GATE])
    start = time.perf_counter()
    for first in range(0, len(events), _PER_TASK):
        publish_dispatch(bus, [event.id for event in events[first : first + _PER_TASK]])
    deadline = start + _PATIENCE
    while bus.inbox.count() or bus.ledger.count_unfinished():
        if time.perf_counter() > deadline:
            raise PlatformError("The workers do not drain the bus.", fix="See their logs.")
        time.sleep(_LOOK * 10)
    return time.perf_counter() - start


def _latency(bus: Bus, event: ModelVersionEvent) -> float:
    """Seconds from when an event is published until a worker runs its weighing."""
    published = time.time()
    publish(bus, event, [GATE])
    record: WeighingRecord | None = None
    while record is None or record.started_at is None:
        time.sleep(_LOOK)
        record = bus.ledger.get(WeighingId.of(GATE.name, event.ref))
    return record.started_at.timestamp() - published


@contextmanager
def _workers(count: int, folder: Path) -> Iterator[Bus]:
    """A bus with this many stand-in workers, each of which has begun to work."""
    folder.mkdir()
    with redis_server(folder / "redis") as url:
        environment = {
            **os.environ,
            "CELERY_BROKER_URL": url,
            "WEIGHBRIDGE_GATES": str(write_gates(folder)),
            "WEIGHBRIDGE_RUN_DIR": str(folder / "run"),
            "REMAP_SIGTERM": "SIGQUIT",
        }
        settings = Settings.model_validate({"CELERY_BROKER_URL": url})
        with (
            Bus.open(settings) as bus,
            Processes(folder / "logs", environment) as processes,
        ):
            for number in range(count):
                processes.start(f"worker {number}", ["-m", "bench.events.stub_worker"])
            holders: set[str] = set()
            for event in _events("warm-up", 100_000):
                if len(holders) == count:
                    break
                publish(bus, event, [GATE])
                time.sleep(_LOOK)
                holders = {
                    line.note.split()[2] for line in bus.ledger.audit() if line.state == "running"
                }
            _drain(bus, [])
            yield bus


def _events(collection: str, count: int) -> Iterator[ModelVersionEvent]:
    for number in range(count):
        ref = ArtifactRef.parse(f"org/wandb-registry-R/{collection}:v{number}")
        yield ModelVersionEvent(ref=ref, source="manual")


def measure(folder: Path, count: int) -> dict[str, float]:
    """Drain the events with one and with two workers, and measure single latencies."""
    with _workers(1, folder / "one") as bus:
        latencies = [_latency(bus, event) for event in _events("single", _SINGLE)]
        one = _drain(bus, list(_events("many", count)))
    with _workers(2, folder / "two") as bus:
        two = _drain(bus, list(_events("many", count)))
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
