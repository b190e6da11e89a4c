"""The tasks, in worker processes on a real Redis: what they leave in the ledger."""

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

_PATIENCE = 120.0  # seconds; a hang must not hold the whole suite
_EXPIRED = 0.001  # seconds: a lease that is over before the next command
_ATTEMPTS = Settings().max_attempts  # then a weighing whose workers died has failed
_SOON = {"WEIGHBRIDGE_LEASE": "2"}  # seconds; the sweeper goes round four times in it
_OF_THE_SHELL = ("CELERY_", "WEIGHBRIDGE_", "WANDB_", "WEAVE_")

Wait = Callable[[Callable[[], bool]], None]
"""Waits for what a worker brings about; fails when the worker ends first."""


@pytest.fixture
def gates(settings: Settings, gate: Gate) -> tuple[Gate, ...]:
    """Two that watch the same registry, as the gate file has them."""
    two = (gate, gate.model_copy(update={"name": "second"}))
    document = GateFile(gates=two).model_dump(mode="json", exclude_none=True)
    settings.gates_path.write_text(yaml.safe_dump(document))
    return two


@pytest.fixture
def environment(settings: Settings, gates: tuple[Gate, ...], tmp_path: Path) -> dict[str, str]:
    """A worker's; its W&B is away: nobody listens there."""
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
    """Of an environment, what makes a W&B that is there of the one that is away."""
    return {**wandb_server.environment(folder / "worker"), "WEIGHBRIDGE_WANDB_TIMEOUT": "19"}


@pytest.fixture
def start(
    environment: dict[str, str], client: redis.Redis, tmp_path: Path
) -> Iterator[Callable[..., Wait]]:
    """Starts a worker of one queue, with changes of its environment; it ends with the test."""
    with ExitStack() as stack:

        def start_worker(queue: str, **changes: str) -> Wait:
            workers = stack.enter_context(Processes(tmp_path / "logs", environment | changes))
            workers.start(queue, ["-m", "weighbridge", "worker", f"--queues={queue}"])
            return lambda condition: workers.wait_for(queue, condition, _PATIENCE)

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
    """Of another version. Events are taken in their order, so it is the last to be dispatched."""
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
    app: Celery,
    inbox: Inbox,
    gates: tuple[Gate, ...],
    client: redis.Redis,
    ledger: Ledger,
    start: Callable[..., Wait],
    event: ModelVersionEvent,
) -> None:
    publish(app, inbox, event, gates)
    start(EVENTS_QUEUE)(lambda: len(_sent(client)) == 2)
    assert _sent(client) == _ids(event.ref, "climate-rag", "second")
    assert [(str(one.id), one.event) for one in ledger.all()] == [
        (weighing, event) for weighing in _sent(client)
    ]


def test_a_version_that_comes_by_three_roads_is_weighed_once(
    app: Celery,
    inbox: Inbox,
    gates: tuple[Gate, ...],
    client: redis.Redis,
    ledger: Ledger,
    start: Callable[..., Wait],
    event: ModelVersionEvent,
) -> None:
    for road in ("webhook", "poller", "manual"):
        publish(app, inbox, event.model_copy(update={"source": road, "gate": "second"}), gates)
    last = _other(event).model_copy(update={"gate": "second"})
    publish(app, inbox, last, gates)
    expected = _ids(event.ref, "second") + _ids(last.ref, "second")
    start(EVENTS_QUEUE)(lambda: expected[-1] in _sent(client))
    assert _sent(client) == expected
    assert [record.event.source for record in ledger.all()] == ["webhook", "webhook"]


def test_an_event_that_names_a_gate_opens_that_one_whatever_it_watches(
    app: Celery,
    inbox: Inbox,
    gates: tuple[Gate, ...],
    client: redis.Redis,
    start: Callable[..., Wait],
    event: ModelVersionEvent,
) -> None:
    ref = ArtifactRef.parse("wandb32/wandb-registry-Unwatched/c:v0")
    publish(app, inbox, event.model_copy(update={"ref": ref, "gate": "second"}), gates)
    publish(app, inbox, _other(event), gates)
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
def test_an_event_that_no_gate_can_take_opens_nothing_and_the_worker_lives(
    app: Celery,
    inbox: Inbox,
    gates: tuple[Gate, ...],
    client: redis.Redis,
    start: Callable[..., Wait],
    event: ModelVersionEvent,
    change: dict[str, object],
) -> None:
    strange = event.model_copy(update=change)
    client.hset(f"{KEY_PREFIX}inbox", strange.id, strange.model_dump_json(warnings=False))
    publish_dispatch(app, [strange.id])
    publish(app, inbox, _other(event), gates)
    expected = _ids(_other(event).ref, "climate-rag", "second")
    start(EVENTS_QUEUE)(lambda: expected[-1] in _sent(client))
    assert _sent(client) == expected


def test_only_force_opens_an_ended_weighing_again(
    app: Celery,
    inbox: Inbox,
    gates: tuple[Gate, ...],
    client: redis.Redis,
    ledger: Ledger,
    start: Callable[..., Wait],
    opened: WeighingRecord,
) -> None:
    _end(ledger, opened.id)
    again = opened.event.model_copy(update={"gate": opened.gate.name, "source": "manual"})
    publish(app, inbox, again, gates)
    forced = again.model_copy(update={"force": True})
    publish(app, inbox, forced, gates)
    start(EVENTS_QUEUE)(lambda: bool(_sent(client)))
    assert _sent(client) == [str(opened.id)]
    record = _record(ledger, opened.id)
    assert (record.state, record.verdict, record.event) == ("queued", None, forced)


def test_an_alias_is_weighed_as_the_number_that_it_stands_for(
    app: Celery,
    inbox: Inbox,
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
    publish(app, inbox, ModelVersionEvent(ref=alias, source="manual", gate="second"), gates)
    wait = start(EVENTS_QUEUE, **_there(local_wandb, tmp_path))
    wait(lambda: bool(_sent(client)))
    assert _sent(client) == _ids(newest, "second")
    (record,) = ledger.all()
    assert record.event.ref == newest
    assert record.event.artifact_id is not None


def test_while_wandb_is_away_a_weighing_waits_in_the_queue_with_the_reason(
    app: Celery, ledger: Ledger, start: Callable[..., Wait], opened: WeighingRecord
) -> None:
    publish_weighing(app, opened.id)
    start(GPU_QUEUE)(lambda: len(_history(ledger, opened.id)) > 2)
    record = _record(ledger, opened.id)
    assert (record.state, record.attempts, record.verdict) == ("queued", 1, None)
    states = [state for state, _ in _history(ledger, opened.id)]
    assert states == ["queued", "running", "queued"]
    assert "W&B did not" in _history(ledger, opened.id)[-1][1]


def _worn_out(client: redis.Redis, record: WeighingRecord, version: ArtifactRef) -> WeighingId:
    """A weighing whose workers died in each of its attempts, the last of them just now."""
    dying = Ledger(client, lease=_EXPIRED)
    weighing = WeighingId.of(record.gate.name, version)
    dying.open(weighing, record.gate, record.event)
    while _record(dying, weighing).attempts < _ATTEMPTS:
        dying.claim(weighing, "a worker")
    return weighing


@contextmanager
def _downloaded_elsewhere(settings: Settings, version: ArtifactRef) -> Iterator[None]:
    """Hold a version's place in the cache, as a process that downloads it does."""
    folder = settings.cache_dir / "versions"
    folder.mkdir(parents=True)
    digest = wandb.Api().artifact(str(version)).digest
    with (folder / f"{digest}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _watching(app: Celery) -> Iterator[State]:
    """What a reader of the workers' events knows, such as Flower."""
    known = State()
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": known.event})
        thread = threading.Thread(target=receiver.capture, daemon=True)
        thread.start()
        try:
            yield known
        finally:
            receiver.should_stop = True
            thread.join(_PATIENCE)


def test_a_running_weighing_shows_step_and_detail_as_its_tasks_state(
    app: Celery,
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
        task = publish_weighing(app, weighing)
        state = AsyncResult(task, app=worker_app(settings))
        wait = start(GPU_QUEUE, **_there(local_wandb, tmp_path))
        waiting = "waiting for another process that downloads this version"
        wait(lambda: state.state == "PROGRESS" and state.info["detail"] == waiting)
        assert state.info["step"] == "download"
        wait(lambda: getattr(known.tasks.get(task), "detail", "") == waiting)
        assert known.tasks[task].state == "PROGRESS"
        assert known.tasks[task].result == f"download: {waiting}"
    wait(lambda: state.state == "SUCCESS")  # of the task; nobody published the gate's RagModel
    assert state.result == "failed"


def _publish_evaluation(gate: Gate) -> None:
    ref = gate.evaluation
    with connected(ref.project_path):
        dataset = weave.Dataset(name="one_row", rows=[{"question": "q"}])
        weave.publish(weave.Evaluation(dataset=dataset, scorers=[]), ref.name)


def test_a_weighing_whose_workers_keep_dying_fails(
    app: Celery,
    client: redis.Redis,
    ledger: Ledger,
    start: Callable[..., Wait],
    opened: WeighingRecord,
) -> None:
    weighing = _worn_out(client, opened, _other(opened.event).ref)
    publish_weighing(app, weighing)
    start(GPU_QUEUE)(lambda: _record(ledger, weighing).ended)
    verdict = _record(ledger, weighing).verdict
    assert verdict is not None
    assert verdict.outcome == "failed"
    assert f"died in each of {_ATTEMPTS} attempts" in verdict.reason
    assert verdict.reason in html.unescape(Path(str(verdict.report)).read_text())


def _hold(ledger: Ledger, weighing: WeighingId) -> None:
    assert ledger.claim(weighing, "a worker") is not None


@pytest.mark.parametrize("take", [_end, _hold], ids=["ended", "held by another worker"])
def test_a_task_that_comes_once_too_often_is_absorbed(
    app: Celery,
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
        publish_weighing(app, weighing)
    start(GPU_QUEUE)(lambda: _record(ledger, last).ended)
    assert (_record(ledger, opened.id), _history(ledger, opened.id)) == before


@pytest.fixture
def deaf_wandb() -> Iterator[dict[str, str]]:
    """A W&B that lets everybody connect and answers nobody."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield {"WANDB_BASE_URL": f"http://127.0.0.1:{listening.getsockname()[1]}"}


def _kill_newest_worker() -> None:
    """Kill the worker that was started last with all its children, as a power cut would."""
    worker = max(psutil.Process().children(), key=psutil.Process.create_time)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def test_what_a_killed_worker_held_is_weighed_by_the_next_one(
    app: Celery,
    ledger: Ledger,
    start: Callable[..., Wait],
    opened: WeighingRecord,
    deaf_wandb: dict[str, str],
) -> None:
    publish_weighing(app, opened.id)
    start(GPU_QUEUE, **_SOON, **deaf_wandb)(lambda: _record(ledger, opened.id).attempts == 1)
    _kill_newest_worker()
    start(EVENTS_QUEUE, **_SOON)(lambda: len(_history(ledger, opened.id)) > 2)
    start(GPU_QUEUE, **_SOON, **deaf_wandb)(lambda: _record(ledger, opened.id).attempts == 2)
    states = [state for state, _ in _history(ledger, opened.id)[:4]]
    assert states == ["queued", "running", "queued", "running"]
    assert _history(ledger, opened.id)[2][1] == "the lease ran out"
