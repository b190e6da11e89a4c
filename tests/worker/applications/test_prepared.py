"""Processes that wait for the next version."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from application.protocol import Failed, Ready
from schemas.applications import Application
from schemas.errors import ConfigurationError
from schemas.settings import Settings
from tests.waiting import wait_for
from worker.applications import process as module
from worker.applications.prepared import Launch, PreparedProcess, Spares

_TIMEOUT = 60.0  # seconds
_READY = Ready(python="3.11", weave="0.54", packages={}).model_dump_json()
_REFUSED = Failed(kind="ConfigurationError", message="There is no acme.").model_dump_json()
_PROGRAM = """
import os, sys, time
os.write(int(sys.argv[-1]), {!r}.encode() + b"\\n")
time.sleep(1000)
"""


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    _runs(tmp_path, monkeypatch, _READY)
    application = Application.model_validate({"import": ["acme"]})
    return Launch("theirs", application, Settings(run_dir=tmp_path), "the-key")


def _runs(folder: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    program = folder / "program.py"
    program.write_text(_PROGRAM.format(says))
    monkeypatch.setattr(module, "_PROGRAM", program)


@pytest.fixture
def spares() -> Iterator[Spares]:
    kept = Spares()
    yield kept
    kept.end()


def _ready(prepared: PreparedProcess) -> Ready:
    return prepared.ready(time.monotonic() + _TIMEOUT, lambda: None)


def test_the_one_that_waits_is_taken(spares: Spares, launch: Launch) -> None:
    spares.prepare(launch)
    spares.prepare(launch)  # one waits already
    first, second = spares.take(launch), spares.take(launch)
    assert len(list((launch.settings.run_dir / "applications").iterdir())) == 2
    assert _ready(first) == _ready(second)
    assert first.gateway.token != second.gateway.token
    first.end()
    second.end()


def test_another_launch_gets_its_own(spares: Spares, launch: Launch) -> None:
    spares.prepare(launch)
    other = spares.take(launch._replace(wandb_key="another-key"))
    same = spares.take(launch)
    assert other is not same
    other.end()
    same.end()


def test_one_that_ended_while_it_waited_is_replaced(spares: Spares, launch: Launch) -> None:
    spares.prepare(launch)
    waiting = spares._spares[launch.key][0]
    waiting.process._process.kill()
    wait_for(lambda: not waiting.process.is_running(), _TIMEOUT)
    taken = spares.take(launch)
    assert taken is not waiting
    assert _ready(taken).weave == "0.54"
    taken.end()


def test_one_that_waits_too_long_is_ended(launch: Launch) -> None:
    spares = Spares(max_idle=0.1)
    spares.prepare(launch)
    wait_for(lambda: not spares._spares, _TIMEOUT)


def test_a_process_that_cannot_import_says_why(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _runs(tmp_path, monkeypatch, _REFUSED)
    prepared = PreparedProcess(launch)
    with pytest.raises(ConfigurationError, match="There is no acme"):
        _ready(prepared)
    prepared.end()


def test_one_that_cannot_be_started_is_left_to_the_next_weighing(
    spares: Spares, launch: Launch
) -> None:
    absent = launch.application.model_copy(update={"python": "/opt/acme/bin/python"})
    spares.prepare(launch._replace(application=absent))
    with pytest.raises(ConfigurationError, match="/opt/acme/bin/python"):
        spares.take(launch._replace(application=absent))
