"""The tasks, in worker processes on a real Redis."""

import base64
import fcntl
import html
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
import redis
import wandb
import weave
import yaml
from celery import Celery
from celery.events.state import State
from celery.result import AsyncResult

from bus.bus import Bus
from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE, queue_keys, worker_app
from bus.connection import KEY_PREFIX
from bus.inbox import Inbox
from bus.ledger import Ledger
from bus.publish import publish, publish_dispatch, publish_weighing
from local_wandb import LocalWandb, LocalWandbConfig
from local_wandb.environment import client_environment
from rehearsal.processes import Processes
from rehearsal.redis_server import free_port
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, GateFile
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.verdicts import Verdict
from schemas.weighings import WeighingRecord
from tests.weave_clients import connected

_TIMEOUT = 120.0  # seconds
_EXPIRED = 0.001  # seconds: a lease that expires before the next command
_ATTEMPTS = Settings().max_attempts  # after which a weighing fails
_SOON = {"WEIGHBRIDGE_LEASE": "2"}  # seconds; the sweeper runs four times per lease
_OF_THE_SHELL = ("CELERY_", "WEIGHBRIDGE_", "WANDB_", "WEAVE_")

Wait = Callable[[Callable[[], bool]], None]
"""Waits for a condition; fails if the worker ends first."""


@pytest.fixture
def gates(settings: Settings, gate: Gate) -> tuple[Gate, ...]:
    """Two gates that watch the same registry, in the gate file."""
    two = (gate, gate.model_copy(update={"name": "second"}))
    document = GateFile(gates=two).model_dump(mode="json", exclude_none=True)
    settings.gates_path.write_text(yaml.safe_dump(document))
    return two


@pytest.fixture
def environment(settings: Settings, gates: tuple[Gate, ...], tmp_path: Path) -> dict[str, str]:
    """A worker's environment; its W&B is unavailable, because nothing listens at its URL."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_SHELL)}
    nobody = f"http://127.0.0.1:{free_port()}"
    config = LocalWandbConfig(data_dir=tmp_path / "wandb")
    return {
        **kept,
        **client_environment(config, nobody, tmp_path / "clients"),
        "CELERY_BROKER_URL": settings.broker_url,
        "WEIGHBRIDGE_GATES": str(settings.gates_path),
        "WEIGHBRIDGE_RUN_DIR": str(settings.run_dir),
        "WEIGHBRIDGE_CACHE_DIR": str(settings.cache_dir),
        "WEIGHBRIDGE_REPORT_DIR": str(settings.report_dir),
        "WEIGHBRIDGE_WANDB_TIMEOUT": "1",
        "HF_HUB_OFFLINE": "1",
        "REMAP_SIGTERM": "SIGQUIT",  # Celery: end at once, not when the task is done
    }


def _there(wandb_server: LocalWandb, folder: Path) -> dict[str, str]:
    """The variables for a W&B that is available."""
    return {**wandb_server.environment(folder / "worker"), "WEIGHBRIDGE_WANDB_TIMEOUT": "19"}


@pytest.fixture
def start(
    environment: dict[str, str], client: redis.Redis, tmp_path: Path
) -> Iterator[Callable[..., Wait]]:
    """Starts a worker of one queue with changes to its environment; it ends with the test."""
    with ExitStack() as stack:

        def start_worker(queue: str, **changes: str) -> Wait:
            workers = stack.enter_context(Processes(tmp_path / "logs", environment | changes))
            workers.start(queue, ["-m", "weighbridge", "worker", f"--queues={queue}"])
            return lambda condition: workers.wait_for(queue, condition, _TIMEOUT)

        yield start_worker


@pytest.fixture
def opened(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> WeighingRecord:
    ledger.open(weighing, gate, event)
    return _record(ledger, weighing)


def _record(ledger: Ledger, weighing: WeighingId) -> WeighingRecord:
    record = ledger.get(weighing)
    assert record is not None
    return record


def _other(event: ModelVersionEvent) -> ModelVersionEvent:
    """An event of another version. Events are dispatched in order, so it is the last."""
    ref = ArtifactRef.parse(f"{event.ref.collection_path}:v4")
    return event.model_copy(update={"ref": ref})


def _sent(client: redis.Redis) -> list[str]:
    """The weighings whose tasks wait for a GPU worker, in the order of serving."""
    texts = [text for key in queue_keys(GPU_QUEUE) for text in reversed(client.lrange(key, 0, -1))]
    messages = [json.loads(text) for text in texts]
    return [json.loads(base64.b64decode(message["body"]))[0][0] for message in messages]


def _ids(version: ArtifactRef, *gates: str) -> list[str]:
    return [str(WeighingId.of(gate, version)) for gate in gates]


def _history(ledger: Ledger, weighing: WeighingId) -> list[tuple[str, str]]:
    return [(one.state, one.note) for one in ledger.audit() if one.id == str(weighing)]


def _end(ledger: Ledger, weighing: WeighingId) -> None:
    token = ledger.claim(weighing, "a worker")
    assert token is not None
    verdict = Verdict(weighing=weighing, source="manual", outcome="rejected", reason="too slow")
    assert ledger.end(verdict, token)


def test_every_gate_that_watches_a_version_opens_its_own_weighing(
    bus: Bus,
    gates: tuple[Gate, ...],
    client: redis.Redis,
    ledger: Ledger,
    start: Callable[..., Wait],
    event: ModelVersionEvent,
) -> None:
    publish(bus, event, gates)
    start(EVENTS_QUEUE)(lambda: len(_sent(client)) == 2)
    assert _sent(client) == _ids(event.ref, "climate-rag", "second")
    assert [(str(one.id), one.event) for one in ledger.all()] == [
        (weighing, event) for weighing in _sent(client)
    ]


def test_a_version_from_three_sources_is_weighed_once(
    bus: Bus,
    gates: tuple[Gate, ...],
    client: redis.Redis,
    ledger: Ledger,
    start: Callable[..., Wait],
    event: ModelVersionEvent,
) -> None:
    for road in ("webhook", "poller", "manual"):
        publish(bus, event.model_copy(update={"source": road, "gate": "second"}), gates)
    last = _other(event).model_copy(update={"gate": "second"})
    publish(bus, last, gates)
    expected = _ids(event.ref, "second") + _ids(last.ref, "second")
    start(EVENTS_QUEUE)(lambda: expected[-1] in _sent(client))
    assert _sent(client) == expected
    assert [record.event.source for record in ledger.all()] == ["webhook", "webhook"]


def test_an_event_that_names_a_gate_opens_only_that_one(
    bus: Bus,
    gates: tuple[Gate, ...],
    client: redis.Redis,
    start: Callable[..., Wait],
    event: ModelVersionEvent,
) -> None:
    ref = ArtifactRef.parse("wandb32/wandb-registry-Unwatched/c:v0")
    publish(bus, event.model_copy(update={"ref": ref, "gate": "second"}), gates)
    publish(bus, _other(event), gates)
    start(EVENTS_QUEUE)(lambda: len(_sent(client)) > 2)
    assert _sent(client)[:-2] == _ids(ref, "second")


@pytest.mark.parametrize(
    "change",
    [
        {"ref": ArtifactRef.parse("wandb32/wandb-registry-Unwatched/c:v0")},
        {"gate": "third"},
        {"source": "rumour"},
    ],
    ids=["unwatched collection", "unknown gate", "malformed event"],
)
def test_an_event_that_no_gate_can_take_opens_nothing_and_the_worker_survives(
    bus: Bus,
    inbox: Inbox,
    gates: tuple[Gate, ...],
    client: redis.Redis,
    start: Callable[..., Wait],
    event: ModelVersionEvent,
    change: dict[str, object],
) -> None:
    strange = event.model_copy(update=change)
    client.hset(f"{KEY_PREFIX}inbox", strange.id, strange.model_dump_json(warnings=False))
    publish_dispatch(bus, [strange.id])
    publish(bus, _other(event), gates)
    expected = _ids(_other(event).ref, "climate-rag", "second")
    start(EVENTS_QUEUE)(lambda: expected[-1] in _sent(client))
    assert _sent(client) == expected


def test_only_force_opens_an_ended_weighing_again(
    bus: Bus,
    gates: tuple[Gate, ...],
    client: redis.Redis,
    ledger: Ledger,
    start: Callable[..., Wait],
    opened: WeighingRecord,
) -> None:
    _end(ledger, opened.id)
    again = opened.event.model_copy(update={"gate": opened.gate.name, "source": "manual"})
    publish(bus, again, gates)
    forced = again.model_copy(update={"force": True})
    publish(bus, forced, gates)
    start(EVENTS_QUEUE)(lambda: bool(_sent(client)))
    assert _sent(client) == [str(opened.id)]
    record = _record(ledger, opened.id)
    assert (record.state, record.verdict, record.event) == ("queued", None, forced)


def test_an_alias_is_weighed_as_its_number(
    bus: Bus,
    gates: tuple[Gate, ...],
    client: redis.Redis,
    ledger: Ledger,
    start: Callable[..., Wait],
    local_wandb: LocalWandb,
    link: Callable[..., str],
    tmp_path: Path,
) -> None:
    collection = f"collection {uuid4().hex[:8]}"
    newest = [ArtifactRef.parse(link(text, collection)) for text in ("one", "two")][-1]
    assert newest.version == "v1"
    alias = newest.model_copy(update={"version": "latest"})
    publish(bus, ModelVersionEvent(ref=alias, source="manual", gate="second"), gates)
    wait = start(EVENTS_QUEUE, **_there(local_wandb, tmp_path))
    wait(lambda: bool(_sent(client)))
    assert _sent(client) == _ids(newest, "second")
    (record,) = ledger.all()
    assert record.event.ref == newest
    assert record.event.artifact_id is not None


def test_without_wandb_a_weighing_waits_in_the_queue_with_the_reason(
    bus: Bus, ledger: Ledger, start: Callable[..., Wait], opened: WeighingRecord
) -> None:
    publish_weighing(bus, opened.id)
    start(GPU_QUEUE)(lambda: len(_history(ledger, opened.id)) > 2)
    record = _record(ledger, opened.id)
    assert (record.state, record.attempts, record.verdict) == ("queued", 1, None)
    states = [state for state, _ in _history(ledger, opened.id)]
    assert states == ["queued", "running", "queued"]
    assert "W&B did not" in _history(ledger, opened.id)[-1][1]


def _worn_out(client: redis.Redis, record: WeighingRecord, version: ArtifactRef) -> WeighingId:
    """A weighing whose worker died in every attempt, the last time just now."""
    dying = Ledger(client, lease=_EXPIRED)
    weighing = WeighingId.of(record.gate.name, version)
    dying.open(weighing, record.gate, record.event)
    while _record(dying, weighing).attempts < _ATTEMPTS:
        dying.claim(weighing, "a worker")
    return weighing


@contextmanager
def _downloaded_elsewhere(settings: Settings, version: ArtifactRef) -> Iterator[None]:
    """Lock a version in the cache, as a process that downloads it does."""
    folder = settings.cache_dir / "versions"
    folder.mkdir(parents=True)
    digest = wandb.Api().artifact(str(version)).digest
    with (folder / f"{digest}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _watching(app: Celery) -> Iterator[State]:
    """The state that a reader of the workers' events has, such as Flower."""
    known = State()
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": known.event})
        thread = threading.Thread(target=receiver.capture, daemon=True)
        thread.start()
        try:
            yield known
        finally:
            receiver.should_stop = True
            thread.join(_TIMEOUT)


def test_a_running_weighing_shows_step_and_detail_as_its_tasks_state(
    app: Celery,
    bus: Bus,
    ledger: Ledger,
    settings: Settings,
    start: Callable[..., Wait],
    gate: Gate,
    event: ModelVersionEvent,
    local_wandb: LocalWandb,
    link: Callable[..., str],
    tmp_path: Path,
) -> None:
    version = ArtifactRef.parse(link("weights", f"collection {uuid4().hex[:8]}"))
    weighing = WeighingId.of(gate.name, version)
    _publish_evaluation(gate)
    ledger.open(weighing, gate, event)
    with _watching(app) as known, _downloaded_elsewhere(settings, version):
        task = publish_weighing(bus, weighing)
        state = AsyncResult(task, app=worker_app(settings))
        wait = start(GPU_QUEUE, **_there(local_wandb, tmp_path))
        waiting = "waiting for another process that downloads this version"
        wait(lambda: state.state == "PROGRESS" and state.info["detail"] == waiting)
        assert state.info["step"] == "download"
        wait(lambda: getattr(known.tasks.get(task), "detail", "") == waiting)
        assert known.tasks[task].state == "PROGRESS"
        assert known.tasks[task].result == f"download: {waiting}"
    wait(
        lambda: state.state == "SUCCESS"
    )  # the task's state; the gate's RagModel was never published
    assert state.result == "failed"


def _publish_evaluation(gate: Gate) -> None:
    ref = gate.evaluation
    with connected(ref.project_path):
        dataset = weave.Dataset(name="one_row", rows=[{"question": "q"}])
        weave.publish(weave.Evaluation(dataset=dataset, scorers=[]), ref.name)


def test_a_weighing_whose_workers_keep_dying_fails(
    bus: Bus,
    client: redis.Redis,
    ledger: Ledger,
    start: Callable[..., Wait],
    opened: WeighingRecord,
) -> None:
    weighing = _worn_out(client, opened, _other(opened.event).ref)
    publish_weighing(bus, weighing)
    start(GPU_QUEUE)(lambda: _record(ledger, weighing).ended)
    verdict = _record(ledger, weighing).verdict
    assert verdict is not None
    assert verdict.outcome == "failed"
    assert f"died in each of {_ATTEMPTS} attempts" in verdict.reason
    assert verdict.reason in html.unescape(Path(str(verdict.report)).read_text())


def _hold(ledger: Ledger, weighing: WeighingId) -> None:
    assert ledger.claim(weighing, "a worker") is not None


@pytest.mark.parametrize("take", [_end, _hold], ids=["ended", "held by another worker"])
def test_a_duplicate_task_is_absorbed(
    bus: Bus,
    client: redis.Redis,
    ledger: Ledger,
    start: Callable[..., Wait],
    opened: WeighingRecord,
    take: Callable[[Ledger, WeighingId], None],
) -> None:
    take(ledger, opened.id)
    before = (_record(ledger, opened.id), _history(ledger, opened.id))
    last = _worn_out(client, opened, _other(opened.event).ref)
    for weighing in (opened.id, last):
        publish_weighing(bus, weighing)
    start(GPU_QUEUE)(lambda: _record(ledger, last).ended)
    assert (_record(ledger, opened.id), _history(ledger, opened.id)) == before


@pytest.fixture
def hanging_wandb() -> Iterator[dict[str, str]]:
    """A W&B that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield {"WANDB_BASE_URL": f"http://127.0.0.1:{listening.getsockname()[1]}"}


def _kill_newest_worker() -> None:
    """Kill the last worker with all its children, as a power failure would."""
    worker = max(psutil.Process().children(), key=psutil.Process.create_time)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def test_the_next_worker_weighs_what_a_killed_one_held(
    bus: Bus,
    ledger: Ledger,
    start: Callable[..., Wait],
    opened: WeighingRecord,
    hanging_wandb: dict[str, str],
) -> None:
    publish_weighing(bus, opened.id)
    start(GPU_QUEUE, **_SOON, **hanging_wandb)(lambda: _record(ledger, opened.id).attempts == 1)
    _kill_newest_worker()
    start(EVENTS_QUEUE, **_SOON)(lambda: len(_history(ledger, opened.id)) > 2)
    start(GPU_QUEUE, **_SOON, **hanging_wandb)(lambda: _record(ledger, opened.id).attempts == 2)
    states = [state for state, _ in _history(ledger, opened.id)[:4]]
    assert states == ["queued", "running", "queued", "running"]
    assert _history(ledger, opened.id)[2][1] == "the lease expired"


def test_an_attempt_that_waits_forever_ends_and_is_tried_again(
    bus: Bus,
    ledger: Ledger,
    start: Callable[..., Wait],
    opened: WeighingRecord,
    hanging_wandb: dict[str, str],
    tmp_path: Path,
) -> None:
    publish_weighing(bus, opened.id)
    forever = {"WEIGHBRIDGE_WANDB_TIMEOUT": "3600", "WEIGHBRIDGE_STALL_TIMEOUT": "1"}
    start(GPU_QUEUE, **_SOON, **hanging_wandb, **forever)
    start(EVENTS_QUEUE, **_SOON)(lambda: _record(ledger, opened.id).attempts == 2)
    log = (tmp_path / "logs" / f"{GPU_QUEUE}.log").read_text()
    assert "the attempt has stalled" in log
    assert "most recent call first" in log  # of where it was waiting
