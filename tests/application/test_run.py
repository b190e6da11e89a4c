"""The application process: a real one, over real pipes, as a worker runs it."""

import fcntl
import json
import os
import random
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from weave.trace.refs import ObjectRef
from weave.trace.weave_client import WeaveClient

from application.protocol import (
    BatchScored,
    Continue,
    Done,
    Evaluate,
    Failed,
    FromApplication,
    Prepare,
    Ready,
    RowScored,
    Started,
    Stop,
    encode,
    from_application,
)
from schemas.errors import EvidenceError
from tests.application.teams import FOLDER, publish
from tests.engine.scripted_engine import TIMEOUT, ScriptedEngine, completion, scripted_engine
from tests.waiting import wait_for
from tests.weave_clients import connected
from worker.verdict.evidence import read_back

_ROOT = Path(__file__).parents[2]


class Running:
    """A running application process, seen from the worker."""

    def __init__(self, process: subprocess.Popen[bytes], read: int, write: int, log: Path) -> None:
        self.process = process
        self.log = log
        self._read = open(read, "rb")  # noqa: SIM115
        self._write = open(write, "wb")  # noqa: SIM115

    def send(self, message: BaseModel) -> None:
        self._write.write(encode(message))
        self._write.flush()

    def receive(self) -> FromApplication:
        line = self._read.readline()
        assert line, self.log.read_text()
        return from_application(line)

    def until_it_ends(self) -> list[FromApplication]:
        """Receive what it still sends."""
        return [from_application(line) for line in self._read]

    def has_read_all(self) -> bool:
        """Whether it has read everything that was sent."""
        left = fcntl.ioctl(self._write, termios.FIONREAD, bytes(4))
        return int.from_bytes(left, sys.byteorder) == 0

    def hang_up(self) -> None:
        self._write.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._read.close()
        self._write.close()


Start = Callable[..., Running]


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as engine:
        yield engine


@pytest.fixture
def start(team_project: str, tmp_path: Path, engine: ScriptedEngine) -> Iterator[Start]:
    running: list[Running] = []

    def start_one() -> Running:
        running.append(_started(tmp_path, engine.url))
        return running[-1]

    yield start_one
    for one in running:
        one.close()


def _started(folder: Path, url: str) -> Running:
    to_read, to_write = os.pipe()
    read, write = os.pipe()
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "application", "--read", str(to_read), "--write", str(write)],
            cwd=folder,
            env=os.environ
            | {
                "PYTHONPATH": f"{_ROOT}:{FOLDER}",
                "OPENAI_BASE_URL": url,
                "OPENAI_API_KEY": "none",
            },
            pass_fds=(to_read, write),
            stdout=output,
            stderr=output,
        )
    os.close(to_read)
    os.close(write)
    return Running(process, read, to_write, log)


@pytest.fixture(scope="module")
def published(team_project: str) -> dict[str, Any]:
    named = {name: [team_project, "the-version"] for name in ("model_name", "chat_only", "judged")}
    return publish(named | {"odd_shapes": [team_project]})


@pytest.fixture
def support_bot(published: dict[str, Any]) -> tuple[str, str]:
    model, evaluation = published["model_name"]
    return model, evaluation


@pytest.fixture
def client(team_project: str) -> Iterator[WeaveClient]:
    with connected(team_project, stored_code=False) as client:
        yield client


def job(project: str, published: Sequence[str], module: str, **more: Any) -> Evaluate:
    model, evaluation = published
    given = {"run_id": "a-run", "run_step": 4, "concurrency": 2, "modules": (module,)} | more
    return Evaluate(project=project, model=model, evaluation=evaluation, **given)


def finished(running: Running) -> tuple[list[FromApplication], str]:
    """Wait for the end, and return the messages and the root call of ``Done``."""
    messages = running.until_it_ends()
    assert running.process.wait(TIMEOUT) == 0, running.log.read_text()
    done = messages.pop()
    assert isinstance(done, Done)
    return messages, done.call


def test_an_evaluation_is_prepared_run_and_reported_row_by_row(
    start: Start,
    engine: ScriptedEngine,
    client: WeaveClient,
    team_project: str,
    support_bot: tuple[str, str],
) -> None:
    engine.will_answer(completion("Parcels take 2 to 4 days."))
    running = start()
    running.send(Prepare(modules=("model_name",)))
    ready = running.receive()
    assert isinstance(ready, Ready)
    assert ready.packages["weave"] == ready.weave
    running.send(job(team_project, support_bot, "model_name"))
    started = running.receive()
    assert isinstance(started, Started)
    assert (started.rows, started.trials) == (3, 1)
    messages, call = finished(running)
    assert call == started.call
    scores = [message.scores for message in messages if isinstance(message, RowScored)]
    assert len(scores) == len(messages) == 3
    assert sorted(score["Grounded.hit"] for score in scores) == [False, False, True]
    assert {request.body["model"] for request in engine.requests} == {"the-version"}
    found = read_back(client, call)
    assert len(found.rows) == 3
    assert found.summary["Grounded"] == {"rate": pytest.approx(1 / 3), "hits": 1}
    assert found.evaluation == support_bot[1]
    root = client.get_call(call)
    assert str(dict.__getitem__(root.inputs, "model").uri) == support_bot[0]
    assert root.attributes["wandb-run-id"] == "a-run"
    assert (root.wb_run_id, root.wb_run_step) == (f"{team_project}/a-run", 4)


def test_batches_come_in_an_order_that_only_the_evaluation_decides(
    start: Start,
    engine: ScriptedEngine,
    client: WeaveClient,
    team_project: str,
    support_bot: tuple[str, str],
) -> None:
    running = start()
    running.send(job(team_project, support_bot, "model_name", batch=1))
    seen = []
    for answer in (Continue(), Stop()):
        batch = next(m for m in iter(running.receive, None) if isinstance(m, BatchScored))
        seen.append([row.columns["area"] for row in batch.rows])
        running.send(answer)
    _, call = finished(running)
    order = ["shipping", "returns", "card"]
    random.Random(ObjectRef.parse_uri(support_bot[1]).digest).shuffle(order)
    assert seen == [order[:1], order[:2]]
    found = read_back(client, call)
    assert (len(found.rows), found.of_rows) == (2, 3)


@pytest.mark.parametrize("batch", [None, 3])
def test_no_row_begins_after_a_stop(
    start: Start,
    engine: ScriptedEngine,
    client: WeaveClient,
    team_project: str,
    support_bot: tuple[str, str],
    batch: int | None,
) -> None:
    held = threading.Event()
    engine.will_answer(completion("Visa", after=held))
    running = start()
    running.send(job(team_project, support_bot, "model_name", concurrency=1, batch=batch))
    engine.wait_for_requests(1)
    running.send(Stop())
    wait_for(running.has_read_all, TIMEOUT)
    held.set()
    messages, call = finished(running)
    assert len(engine.requests) == 1
    assert len([message for message in messages if isinstance(message, RowScored)]) == 1
    assert len(read_back(client, call).rows) == 1


def test_it_ends_at_once_when_the_worker_is_gone(
    start: Start, engine: ScriptedEngine, team_project: str, support_bot: tuple[str, str]
) -> None:
    held = threading.Event()
    engine.will_answer(completion(after=held))
    running = start()
    running.send(job(team_project, support_bot, "model_name"))
    engine.wait_for_requests(1)
    running.hang_up()
    assert running.process.wait(TIMEOUT) == 1
    held.set()


@pytest.mark.parametrize("module", ["chat_only", "judged"])
def test_plain_methods_and_asynchronous_scorers_run(
    start: Start,
    engine: ScriptedEngine,
    client: WeaveClient,
    team_project: str,
    published: dict[str, Any],
    module: str,
) -> None:
    engine.will_answer(completion("yes"))
    running = start()
    running.send(job(team_project, published[module], module))
    _, call = finished(running)
    assert len(read_back(client, call).rows) == 2


def test_a_row_that_raises_and_answers_that_are_no_json_do_not_end_it(
    start: Start, client: WeaveClient, team_project: str, published: dict[str, Any]
) -> None:
    shapes = published["odd_shapes"]
    running = start()
    pair = (shapes["raising"], shapes["evaluation"])
    running.send(job(team_project, pair, "odd_shapes"))
    messages, call = finished(running)
    assert len([m for m in messages if isinstance(m, RowScored)]) == 8
    with pytest.raises(EvidenceError, match="2 of 8 rows have no answer"):
        read_back(client, call)


def test_a_failure_is_reported_with_its_fix(start: Start) -> None:
    running = start()
    running.send(Prepare(modules=("no_such_module",)))
    failed = running.receive()
    assert isinstance(failed, Failed)
    assert failed.kind == "ConfigurationError"
    assert "no_such_module" in failed.message
    assert failed.fix
    assert running.process.wait(TIMEOUT) == 1


def test_an_interpreter_without_weave_is_named() -> None:
    program = [sys.executable, "-I", "-S", str(_ROOT / "application/__main__.py")]
    done = subprocess.run(
        [*program, "--read", "0", "--write", "1"], capture_output=True, check=False
    )
    failed = from_application(done.stdout)
    assert isinstance(failed, Failed)
    assert failed.kind == "ConfigurationError"
    assert sys.executable in failed.message
    assert "No module named" in failed.message
    assert done.returncode == 1


def test_it_adds_only_what_is_small_to_what_weave_imports() -> None:
    program = """
import json, sys
import weave
before = set(sys.modules)
import application.__main__, application.run
print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    added = set(json.loads(done.stdout))
    assert {"application", "schemas"} <= added
    assert not added & {
        *("torch", "faiss", "transformers", "sentence_transformers", "pydantic_settings"),
        *("structlog", "wandb", "openai", "engine", "bus", "registry", "worker"),
    }
