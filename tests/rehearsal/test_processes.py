"""Stopping a rehearsal's process stops everything that it started."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from rehearsal import processes
from rehearsal.processes import stop_on_exit, wait_until

# Like an engine: in a session of its own, it ends a moment after the process that started it.
_LINGERING = """
import os, time
owner = os.getppid()
while os.getppid() == owner:
    time.sleep(0.1)
time.sleep({seconds})
"""
_STARTS_IT = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
pathlib.Path(sys.argv[2]).write_text(str(child.pid))
time.sleep(1000)
"""


@pytest.mark.parametrize("seconds", [1, 1000])
def test_what_a_process_started_has_ended_when_the_context_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    monkeypatch.setattr(processes, "_KILL_AFTER", 3.0)
    pid = tmp_path / "pid"
    command = [sys.executable, "-c", _STARTS_IT, _LINGERING.format(seconds=seconds), str(pid)]
    process = subprocess.Popen(command)
    with stop_on_exit(process):
        wait_until(
            lambda: pid.exists() and pid.read_text() != "", process, "it", tmp_path / "log", 60
        )
        started = psutil.Process(int(pid.read_text()))
    assert process.poll() is not None
    with suppress(psutil.NoSuchProcess):  # where nothing reaps orphans, it remains as a zombie
        assert started.status() == psutil.STATUS_ZOMBIE


def test_a_process_that_has_ended_already_needs_no_stop() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    with stop_on_exit(process):
        process.wait()
    assert process.returncode == 0
