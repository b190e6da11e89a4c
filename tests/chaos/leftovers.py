"""Processes that outlived the chaos."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.e2e.rehearsed import mentioning

_GONE_WITHIN = 30.0  # seconds in which the SDKs' helpers notice that their process is gone
_LOOK = 1.0  # seconds


def processes_left(folder: Path) -> list[str]:
    """What still runs, when everybody has had time to end: children, and whoever has to do with it.

    Args:
        folder: of the run.
    """
    deadline = time.monotonic() + _GONE_WITHIN
    while (left := list(_left(folder))) and time.monotonic() < deadline:
        time.sleep(_LOOK)
    return left


def _left(folder: Path) -> Iterator[str]:
    for process in {*psutil.Process().children(recursive=True), *mentioning(folder)}:
        if process.pid != psutil.Process().pid:
            yield f"the process {process.pid} is left: {_command(process)}"


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "gone meanwhile"
