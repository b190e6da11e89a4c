"""Checks that no process outlives the chaos test."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.e2e.rehearsed import mentioning

_EXIT_TIMEOUT = 30.0  # seconds in which the SDKs' helper processes notice that their parent ended
_POLL_INTERVAL = 1.0  # seconds


def remaining_processes(folder: Path) -> list[str]:
    """Describe the processes that still run after a timeout.

    Args:
        folder: Folder of the run; a process that mentions it counts, as does every child.
    """
    deadline = time.monotonic() + _EXIT_TIMEOUT
    while (remaining := list(_remaining(folder))) and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL)
    return remaining


def _remaining(folder: Path) -> Iterator[str]:
    for process in {*psutil.Process().children(recursive=True), *mentioning(folder)}:
        if process.pid != psutil.Process().pid:
            yield f"the process {process.pid} still runs: {_command(process)}"


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "ended meanwhile"
