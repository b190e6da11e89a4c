"""The guard ends its command when the owner ends, in whatever way."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from engine import guard

# A fake engine with several processes, as vLLM has, one of which has left the group and ignores
# SIGTERM; it writes their ids to a file.
ENGINE = """
import os, pathlib, subprocess, sys, time
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)"
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
escaped = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
pids = pathlib.Path(sys.argv[1])
pids.with_suffix(".new").write_text(f"{os.getpid()} {child.pid} {escaped.pid}")
pids.with_suffix(".new").rename(pids)
time.sleep(1000)
"""
SLEEPER = [sys.executable, "-c", "import time; time.sleep(1000)"]
TIMEOUT = 30.0
_GRACE = 1.0  # seconds between SIGTERM and SIGKILL


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER) as process:
        yield process
        process.kill()


class Guarded:
    """A running guard and the processes of its fake engine."""

    def __init__(self, owner: subprocess.Popen[bytes], folder: Path) -> None:
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        pids = folder / "pids"
        guarded = guard.command(psutil.Process(owner.pid), self.scratch, _GRACE)
        self.process = subprocess.Popen([*guarded, sys.executable, "-c", ENGINE, str(pids)])
        while not pids.exists():
            assert self.process.poll() is None
            time.sleep(0.01)
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


def test_the_command_ends_with_a_guard_that_is_killed(guarded: Guarded) -> None:
    guarded.process.kill()
    _, alive = psutil.wait_procs(guarded.engine[:1], timeout=TIMEOUT)
    assert not alive
    for process in guarded.engine:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def test_no_process_gets_more_memory_than_its_limit(
    owner: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    guarded = guard.command(psutil.Process(owner.pid), tmp_path / "scratch", 1.0, memory=2**30)
    program = [sys.executable, "-c", "bytearray(2**31)"]
    done = subprocess.run([*guarded, *program], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


def test_the_command_runs_as_long_as_the_owner(guarded: Guarded) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        guarded.process.wait(4 * guard.POLL_INTERVAL)
    assert all(process.is_running() for process in guarded.engine)


def test_a_new_process_with_the_owners_id_is_not_the_owner() -> None:
    this = psutil.Process()
    assert guard.is_running(this.pid, this.create_time())
    assert not guard.is_running(this.pid, this.create_time() - 60)
