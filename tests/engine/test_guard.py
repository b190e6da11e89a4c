"""The guard ends its command when the owner ends, in whatever way."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine import guard

# A fake engine with two processes, as vLLM has several; it writes their ids to a file.
ENGINE = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
pids = pathlib.Path(sys.argv[1])
pids.with_suffix(".new").write_text(f"{os.getpid()} {child.pid}")
pids.with_suffix(".new").rename(pids)
time.sleep(1000)
"""
SLEEPER = [sys.executable, "-c", "import time; time.sleep(1000)"]
TIMEOUT = 30.0


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER) as process:
        yield process
        process.kill()


class Guarded:
    """A running guard and the two processes of its fake engine."""

    def __init__(self, owner: subprocess.Popen[bytes], folder: Path) -> None:
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        pids = folder / "pids"
        started = psutil.Process(owner.pid).create_time()
        self.process = subprocess.Popen(
            [
                *(sys.executable, guard.__file__, str(owner.pid), str(started), str(self.scratch)),
                *("--", sys.executable, "-c", ENGINE, str(pids)),
            ]
        )
        while not pids.exists():
            assert self.process.poll() is None
        self.engine = [psutil.Process(int(pid)) for pid in pids.read_text().split()]

    def assert_nothing_is_left(self) -> None:
        self.process.wait(TIMEOUT)
        _, alive = psutil.wait_procs(self.engine, timeout=TIMEOUT)
        assert not alive
        assert not self.scratch.exists()


@pytest.fixture
def guarded(owner: subprocess.Popen[bytes], tmp_path: Path) -> Iterator[Guarded]:
    guarded = Guarded(owner, tmp_path)
    yield guarded
    guarded.process.terminate()
    guarded.process.wait(TIMEOUT)


def test_nothing_is_left_when_the_owner_is_killed(
    guarded: Guarded, owner: subprocess.Popen[bytes]
) -> None:
    owner.kill()
    guarded.assert_nothing_is_left()


def test_nothing_is_left_when_the_guard_is_terminated(guarded: Guarded) -> None:
    guarded.process.terminate()
    guarded.assert_nothing_is_left()


def test_nothing_is_left_when_the_engine_itself_dies(guarded: Guarded) -> None:
    guarded.engine[0].kill()
    guarded.assert_nothing_is_left()


def test_the_command_runs_as_long_as_the_owner(guarded: Guarded) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        guarded.process.wait(4 * guard.POLL_INTERVAL)
    assert all(process.is_running() for process in guarded.engine)


def test_a_new_process_with_the_owners_id_is_not_the_owner() -> None:
    this = psutil.Process()
    assert guard.is_running(this.pid, this.create_time())
    assert not guard.is_running(this.pid, this.create_time() - 60)
