"""A worker process with its own Redis: its record, and when it counts as stalled."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest
import redis
from celery import Celery

from bus.celery_app import (
    DISPATCH_TASK,
    EVENTS_QUEUE,
    GPU_QUEUE,
    SWEEP_TASK,
    celery_app,
    queue_keys,
    queue_length,
)
from bus.connection import KEY_PREFIX, connect
from bus.inbox import Inbox
from bus.liveness import WorkerRecord, live_workers
from engine.guard import is_running
from rehearsal.processes import Processes
from rehearsal.redis_server import RedisServer, free_port
from schemas.events import ModelVersionEvent
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from tests.sentinels import MASTER, SENTINEL_PASSWORD, followed, watched
from tests.waiting import wait_for

_TIMEOUT = 60.0  # seconds
_STALLED_AFTER = 5  # heartbeats without a self-test task
_WITHIN = 20.0  # seconds; Celery waits for longer from one try to connect to the next
_OF_THE_SHELL = ("CELERY_", "WEIGHBRIDGE_", "WANDB_", "WEAVE_")
_GATES = Path(__file__).parents[2] / "gates.example.yaml"

Start = Callable[..., "Worker"]


class Worker:
    """A running worker."""

    def __init__(self, processes: Processes, log: Path, client: redis.Redis, name: str) -> None:
        self._processes = processes
        self._log = log
        self._client = client
        self._name = name
        self.process = processes.child(name)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; fails if the worker ends first."""
        self._processes.wait_for(self._name, condition, _TIMEOUT)

    def record(self) -> WorkerRecord:
        """Its record; waits for it, because a busy machine may delay it."""
        self.wait_for(lambda: bool(self._records()))
        return self._records()[0]

    def is_consuming(self) -> bool:
        """Whether its self-test task was delivered."""
        try:
            return any(one.heard_at for one in self._records())
        except redis.ConnectionError:  # the Sentinels may be failing over
            return False

    def is_busy_with(self, task: str) -> bool:
        """Whether such a task runs."""
        return any(one.startswith(task) for one in self.record().busy_with)

    def _records(self) -> list[WorkerRecord]:
        return [one for one in live_workers(self._client) if one.pid == self.process.pid]

    @property
    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def client(environment: dict[str, str]) -> Iterator[redis.Redis]:
    with connect(environment["CELERY_BROKER_URL"], MASTER) as connection:
        yield connection


@pytest.fixture
def app(environment: dict[str, str]) -> Iterator[Celery]:
    url = environment["CELERY_BROKER_URL"]
    values = {"CELERY_BROKER_URL": url, "redis_master": MASTER}
    celery = celery_app(Settings.model_validate(values))
    yield celery
    celery.close()


@pytest.fixture
def environment(server: RedisServer, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_SHELL)}
    return {
        **kept,
        "CELERY_BROKER_URL": server.url,
        "WEIGHBRIDGE_REDIS_MASTER": MASTER,
        "WEIGHBRIDGE_GATES": str(_GATES),
        "WEIGHBRIDGE_LEASE": "4",  # seconds; a stalled worker exits after five
        "WEIGHBRIDGE_RUN_DIR": str(tmp_path / "run"),
        "WANDB_API_KEY": "0" * 40,
    }


@pytest.fixture
def start(environment: dict[str, str], client: redis.Redis, tmp_path: Path) -> Iterator[Start]:
    """Starts a worker and waits until it is consuming; it ends with the test."""
    with Processes(tmp_path / "logs", environment) as processes:

        def start_worker(queues: str = EVENTS_QUEUE) -> Worker:
            name = f"worker {len(list(tmp_path.glob('logs/*')))}"
            processes.start(name, ["-m", "weighbridge", "worker", f"--queues={queues}"])
            log = tmp_path / "logs" / f"{name.replace(' ', '-')}.log"
            worker = Worker(processes, log, client, name)
            worker.wait_for(worker.is_consuming)
            return worker

        yield start_worker


def _without_ttl(client: redis.Redis) -> list[str]:
    """The keys without a TTL, other than queues, which workers empty."""
    keys = [str(key) for key in client.scan_iter() if client.ttl(key) == -1]
    return sorted(key.removeprefix(KEY_PREFIX) for key in keys if not key.endswith(EVENTS_QUEUE))


def test_a_worker_has_a_record_and_receives_its_self_test_task(start: Start) -> None:
    worker = start()
    record = worker.record()
    assert record.name == f"events-{worker.process.pid}@{socket.gethostname()}"
    assert record.queues == (EVENTS_QUEUE,)
    assert record.heard_at is not None
    assert record.heard_at > record.started_at
    assert not record.stalled


def test_a_worker_that_ended_leaves_only_the_trimmed_list_of_bindings(
    start: Start, client: redis.Redis
) -> None:
    worker = start()
    assert all(str(key).startswith(KEY_PREFIX) for key in client.scan_iter())
    worker.process.terminate()
    assert worker.process.wait(_TIMEOUT) == 0
    assert live_workers(client) == []
    assert _without_ttl(client) == ["_kombu.binding_deadlines"]


def test_the_keys_of_a_killed_worker_expire(start: Start, client: redis.Redis) -> None:
    worker = start(GPU_QUEUE)  # an events worker may hold a sweep, which is redelivered
    name = worker.record().name
    os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    assert _without_ttl(client) == ["_kombu.binding_deadlines"]
    assert client.ttl(f"{KEY_PREFIX}worker:{name}") <= 4
    assert client.ttl(f"{KEY_PREFIX}pulse.{name}") <= 4
    wait_for(lambda: not client.exists(f"{KEY_PREFIX}worker:{name}"), _TIMEOUT)


def test_child_processes_exit_with_a_killed_main_process(start: Start) -> None:
    """When memory runs out, the system kills one process but not its children."""
    worker = start()
    children = psutil.Process(worker.process.pid).children(recursive=True)
    others = [(one.pid, one.create_time()) for one in children]
    assert others  # those that run the tasks
    worker.process.kill()
    worker.process.wait()
    wait_for(lambda: not any(is_running(*one) for one in others), _TIMEOUT)


def _commands_during_beats(worker: Worker, client: redis.Redis, count: int) -> list[str]:
    """The commands that Redis received during ``count`` heartbeats of a worker, in order."""
    beat = f"SET {KEY_PREFIX}worker:{worker.record().name} "
    commands: list[str] = []
    with client.monitor() as monitor:  # type: ignore[no-untyped-call]
        while sum(command.startswith(beat) for command in commands) <= count:
            commands.append(str(monitor.next_command()["command"]))
    return commands


def test_a_self_test_task_is_sent_with_a_ttl(start: Start, client: redis.Redis) -> None:
    worker = start()
    queue = f"{KEY_PREFIX}pulse.{worker.record().name}"
    commands = _commands_during_beats(worker, client, 2)
    sent = [
        number for number, command in enumerate(commands) if command.startswith(f"LPUSH {queue} ")
    ]
    assert sent
    assert all(commands[number - 1] == "MULTI" for number in sent)
    assert all(commands[number + 1].startswith(f"PEXPIRE {queue} ") for number in sent)


def test_a_self_test_task_is_never_redelivered(start: Start, client: redis.Redis) -> None:
    """Any worker would redeliver an unacknowledged task a day later."""
    worker = start()
    name = worker.record().name
    commands = _commands_during_beats(worker, client, 2)
    assert [one for one in commands if one.startswith(f"LPUSH {KEY_PREFIX}pulse.{name} ")]
    assert not [one for one in commands if "unacked " in one and f"pulse.{name}" in one]


def test_a_worker_that_is_not_consuming_is_stalled_and_exits(
    start: Start, app: Celery, client: redis.Redis
) -> None:
    worker = start()
    name = worker.record().name
    app.control.cancel_consumer(f"pulse.{name}", destination=[name])
    worker.wait_for(lambda: worker.record().stalled)
    assert worker.process.wait(_TIMEOUT) == 1
    assert "the worker is not consuming" in worker.log
    assert f"Error: The worker {name} was not consuming from its queues." in worker.log


@pytest.fixture
def hanging_wandb(environment: dict[str, str]) -> Iterator[None]:
    """A W&B that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        environment["WANDB_BASE_URL"] = f"http://127.0.0.1:{listening.getsockname()[1]}"
        environment["WEIGHBRIDGE_WANDB_TIMEOUT"] = "8"  # seconds
        yield


def _dispatch(app: Celery, client: redis.Redis) -> None:
    """Dispatch an event whose alias only W&B can resolve."""
    alias = ArtifactRef.parse("wandb32/wandb-registry-RAG Chat Models/SmolLM2:latest")
    event = ModelVersionEvent(ref=alias, source="manual")
    Inbox(client, grace=600).accept(event, [])
    app.send_task(DISPATCH_TASK, args=[[event.id]])


def test_a_worker_that_is_busy_for_longer_than_a_lease_is_not_stalled(
    hanging_wandb: None, start: Start, app: Celery, client: redis.Redis
) -> None:
    worker = start()
    _dispatch(app, client)
    worker.wait_for(lambda: worker.is_busy_with(DISPATCH_TASK))
    since = worker.record().heard_at
    worker.wait_for(lambda: worker.record().heard_at != since)
    assert not worker.record().stalled


@pytest.fixture
def two_slots(environment: dict[str, str]) -> None:
    environment["WEIGHBRIDGE_SIDE_BY_SIDE"] = "2"


def test_a_worker_that_shuts_down_after_its_task_is_not_stalled(
    hanging_wandb: None, two_slots: None, start: Start, app: Celery, client: redis.Redis
) -> None:
    """It has stopped consuming, although one of its slots is free."""
    worker = start(f"{EVENTS_QUEUE},{GPU_QUEUE}")
    _dispatch(app, client)
    worker.wait_for(lambda: worker.is_busy_with(DISPATCH_TASK))
    worker.process.terminate()
    assert worker.process.wait(_TIMEOUT) == 0
    assert "not consuming" not in worker.log


def _received(app: Celery, name: str, task: str) -> int:
    """How many of these tasks the worker has received."""
    stats = app.control.inspect([name]).stats() or {name: {"total": {}}}
    return int(stats[name]["total"].get(task, 0))


def test_a_worker_and_its_sweeps_survive_an_outage_of_redis_longer_than_a_lease(
    server: RedisServer, start: Start, app: Celery, client: redis.Redis
) -> None:
    worker = start()
    server.kill()
    worker.wait_for(lambda: worker.log.count("Redis is unavailable") > _STALLED_AFTER)
    server.start()
    back = time.monotonic()
    app.send_task(DISPATCH_TASK, args=[[]])
    worker.wait_for(lambda: queue_length(client, EVENTS_QUEUE) == 0)
    assert time.monotonic() - back < _WITHIN
    name = f"events-{worker.process.pid}@{socket.gethostname()}"
    swept = _received(app, name, SWEEP_TASK)
    worker.wait_for(lambda: _received(app, name, SWEEP_TASK) > swept)
    worker.wait_for(worker.is_consuming)  # its old record has expired
    assert not worker.record().stalled


def test_sweeps_go_on_when_the_workers_child_processes_die(start: Start, app: Celery) -> None:
    worker = start()
    name = worker.record().name
    for child in psutil.Process(worker.process.pid).children():
        child.kill()
    swept = _received(app, name, SWEEP_TASK)
    worker.wait_for(lambda: _received(app, name, SWEEP_TASK) > swept + 2)
    worker.process.kill()  # otherwise Celery waits for the task of the child that died


def test_a_worker_survives_a_hanging_redis(server: RedisServer, start: Start) -> None:
    worker = start()
    since = worker.record().heard_at
    server.pause()
    worker.wait_for(lambda: "Redis is unavailable" in worker.log)
    server.resume()
    worker.wait_for(worker.is_consuming)
    worker.wait_for(lambda: worker.record().heard_at != since)
    assert not worker.record().stalled


def test_a_redis_that_hangs_while_the_self_test_task_is_sent_is_noticed(
    server: RedisServer, start: Start, client: redis.Redis
) -> None:
    worker = start()
    queue = f"pulse.{worker.record().name}"
    command = f"LLEN {KEY_PREFIX}{queue}"
    lengths = len(queue_keys(queue))
    with client.monitor() as monitor:  # type: ignore[no-untyped-call]
        while lengths:  # the self-test task is sent next
            lengths -= str(monitor.next_command()["command"]).startswith(command)
        server.pause()
    worker.wait_for(lambda: "Redis is unavailable" in worker.log)
    server.resume()
    worker.wait_for(worker.is_consuming)


@pytest.fixture
def watched_server(
    server: RedisServer, environment: dict[str, str], tmp_path: Path
) -> Iterator[RedisServer]:
    """The server with Sentinels and a replica; the environment names only the Sentinels."""
    with followed(server, tmp_path), watched(server, tmp_path) as ports:
        hosts = ";".join(f"sentinel://127.0.0.1:{port}" for port in ports)
        environment["CELERY_BROKER_URL"] = f"{hosts}/0?sentinel_password={SENTINEL_PASSWORD}"
        yield server


def test_a_worker_follows_the_sentinels_to_a_replica(
    watched_server: RedisServer, start: Start, app: Celery, client: redis.Redis
) -> None:
    worker = start()
    watched_server.kill()

    def is_consuming_again() -> bool:
        with suppress(redis.RedisError, ValueError):
            heard = worker.record().heard_at
            return heard is not None and heard > gone
        return False

    gone = datetime.now(UTC)
    worker.wait_for(is_consuming_again)
    app.send_task(DISPATCH_TASK, args=[[]])
    worker.wait_for(lambda: queue_length(client, EVENTS_QUEUE) == 0)
    assert not worker.record().stalled


def test_flower_sees_the_worker_and_its_tasks(
    environment: dict[str, str], start: Start, app: Celery, tmp_path: Path
) -> None:
    worker = start()
    name = worker.record().name
    port = free_port()
    # As docker-compose.yml starts it.
    arguments = ["--app", "worker.tasks", "flower", f"--port={port}"]
    unprotected = environment | {"FLOWER_UNAUTHENTICATED_API": "true"}
    with (
        Processes(tmp_path / "flower", unprotected) as processes,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        processes.start("flower", ["-m", "celery", *arguments])

        def shows(path: str, text: str) -> bool:
            with suppress(httpx.TransportError):
                return text in http.get(path).text
            return False

        processes.wait_for("flower", lambda: shows("/workers?json=1", name), _TIMEOUT)
        app.send_task(DISPATCH_TASK, args=[[]])
        processes.wait_for("flower", lambda: shows("/api/tasks", DISPATCH_TASK), _TIMEOUT)
        queues = "/api/workers?refresh=1"
        processes.wait_for("flower", lambda: shows(queues, f"pulse.{name}"), _TIMEOUT)
