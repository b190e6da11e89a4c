"""A process of an application: whatever it does, it is reported, and nothing of it is left."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from application.protocol import Continue, Done, RowScored
from bus.lease import LeaseLostError
from schemas.applications import Application
from schemas.errors import ConfigurationError, PlatformError
from worker.applications import process as module
from worker.applications.process import ApplicationProcess

_HEAD = """
import argparse, json, os, subprocess, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--read", type=int)
parser.add_argument("--write", type=int)
given = parser.parse_args()
reading, writing = os.fdopen(given.read), os.fdopen(given.write, "w")
"""
_FOREVER = "time.sleep(1000)\n"
_SLEEPER = """subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]{})\n"""
_DONE = Done(call="0197").model_dump_json()


@pytest.fixture
def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ApplicationProcess]]:
    """Starts a program as an application; its environment has its own folder as FOLDER."""
    with ExitStack() as stack:

        def start(program: str, launcher: str = "", **settings: object) -> ApplicationProcess:
            path = tmp_path / "program.py"
            path.write_text(_HEAD + program)
            monkeypatch.setattr(module, "_PROGRAM", path)
            application = Application.model_validate({"import": ["acme"], **settings})
            started = ApplicationProcess(
                application, lambda folder: {"FOLDER": str(folder)}, tmp_path / "it.log", launcher
            )
            return stack.enter_context(started)

        yield start


def _soon() -> float:
    return time.monotonic() + 60


def _ignore() -> None:
    pass


def _says(text: str) -> str:
    return f"print({text!r}, file=writing, flush=True)\n"


def _processes_of(folder: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FOLDER") == folder:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_messages_go_both_ways(start: Callable[..., ApplicationProcess]) -> None:
    program = f"assert json.loads(reading.readline())\n{_says(_DONE)}{_FOREVER}"
    process = start(program)
    process.send(Continue())
    assert process.receive(_soon(), _ignore) == Done(call="0197")


def test_several_messages_may_arrive_at_once(start: Callable[..., ApplicationProcess]) -> None:
    scored = RowScored(scores={"correct": True}).model_dump_json()
    process = start(_says(f"{scored}\n{_DONE}") + _FOREVER)
    received = [process.receive(_soon(), _ignore) for _ in range(2)]
    assert received == [RowScored(scores={"correct": True}), Done(call="0197")]


@pytest.mark.parametrize(
    ("ending", "how"),
    [("sys.exit(3)", "ended with exit code 3"), ("os.abort()", "was ended by SIGABRT")],
)
def test_an_early_end_is_reported_with_its_last_lines(
    start: Callable[..., ApplicationProcess], ending: str, how: str
) -> None:
    process = start(f"print('Qdrant is away', file=sys.stderr, flush=True)\n{ending}\n")
    with pytest.raises(PlatformError, match=f"(?s){how}.*it.log.*Qdrant is away"):
        process.receive(_soon(), _ignore)


def test_a_process_that_takes_too_long_is_named(
    start: Callable[..., ApplicationProcess],
) -> None:
    process = start(_FOREVER)
    with pytest.raises(PlatformError, match=r"application\.timeout"):
        process.receive(time.monotonic(), _ignore)


def test_a_lost_lease_ends_the_wait(start: Callable[..., ApplicationProcess]) -> None:
    def check() -> None:
        raise LeaseLostError("another worker has it")

    process = start(_FOREVER)
    with pytest.raises(LeaseLostError):
        process.receive(_soon(), check)


@pytest.mark.parametrize("text", ["no JSON", '{"unknown": 1}', "[]"])
def test_what_is_no_message_is_refused(start: Callable[..., ApplicationProcess], text: str) -> None:
    process = start(_says(text) + _FOREVER)
    with pytest.raises(PlatformError, match="no message"):
        process.receive(_soon(), _ignore)


def test_what_it_prints_delays_nothing_and_is_kept_in_part(
    start: Callable[..., ApplicationProcess], tmp_path: Path
) -> None:
    printing = "for _ in range(100): sys.stdout.write('x' * 2**20)\nsys.stdout.flush()\n"
    process = start(printing + _says(_DONE) + _FOREVER)
    assert process.receive(_soon(), _ignore) == Done(call="0197")
    process.end()
    assert (tmp_path / "it.log").stat().st_size <= 50 * 2**20


def test_nothing_is_left_of_what_it_started(
    start: Callable[..., ApplicationProcess], tmp_path: Path
) -> None:
    forks = _SLEEPER.format("") + _SLEEPER.format(", start_new_session=True")
    process = start(f"{forks}print(os.environ['FOLDER'], flush=True)\n{_says(_DONE)}{_FOREVER}")
    process.receive(_soon(), _ignore)
    process.end()
    folder = (tmp_path / "it.log").read_text().strip()
    assert _processes_of(folder) == []
    assert not Path(folder).exists()


def test_it_works_in_its_own_folder(start: Callable[..., ApplicationProcess]) -> None:
    program = "assert os.getcwd() == os.environ['FOLDER']\nopen('file', 'w').close()\n"
    assert start(program + _says(_DONE)).receive(_soon(), _ignore) == Done(call="0197")


def test_it_has_no_other_open_files(start: Callable[..., ApplicationProcess]) -> None:
    program = "assert set(os.listdir('/proc/self/fd')) <= {'0', '1', '2', '3', *map(str, "
    program += "(given.read, given.write))}, os.listdir('/proc/self/fd')\n"
    assert start(program + _says(_DONE)).receive(_soon(), _ignore) == Done(call="0197")


def test_its_memory_is_limited(start: Callable[..., ApplicationProcess]) -> None:
    process = start("bytearray(2 * 2**30)\n", memory_gib=1)
    with pytest.raises(PlatformError, match=r"(?s)exit code 1.*MemoryError"):
        process.receive(_soon(), _ignore)


def test_an_interpreter_that_does_not_exist_is_named(
    start: Callable[..., ApplicationProcess],
) -> None:
    with pytest.raises(ConfigurationError, match="/opt/acme/bin/python"):
        start(_FOREVER, python="/opt/acme/bin/python")
