"""Starts again whatever died, as `restart: unless-stopped` in a compose file does."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_GRACE = 30.0  # seconds between SIGTERM and SIGKILL


@dataclass
class _Child:
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes]
    starts_at: float | None = None  # while it is dead

    @property
    def runs(self) -> bool:
        return self.process.poll() is None


class Supervisor:
    """Children that are killed on purpose; a context manager that ends them all.

    Args:
        logs: folder of the logs, one file per child.
        environment: what every child gets.
        pause: says how many seconds a dead child stays dead.

    Attributes:
        deaths: of children that nobody killed, by name and exit code.
    """

    def __init__(
        self, logs: Path, environment: Mapping[str, str], pause: Callable[[], float]
    ) -> None:
        logs.mkdir(parents=True)
        self._logs = logs
        self._environment = environment
        self._pause = pause
        self._children: dict[str, _Child] = {}
        self.deaths: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        children = [child for child in self._children.values() if child.runs]
        for child in children:
            child.process.terminate()
        for child in children:
            try:
                child.process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                _kill(child.process)

    def start(self, name: str, arguments: Sequence[str], **environment: str) -> None:
        """Start `python ARGUMENTS`, again and again until the end.

        Args:
            name: of the child, and of its log.
            environment: what only this child gets.
        """
        command = [sys.executable, *arguments]
        everything = {**self._environment, **environment}
        log = self._logs / f"{name.replace(' ', '-')}.log"
        process = _started(command, everything, log)
        self._children[name] = _Child(command, everything, log, process)

    def pid(self, name: str) -> int:
        """The process id that a child has, or had last."""
        return self._children[name].process.pid

    def kill(self, name: str) -> int | None:
        """End a child and all its processes at once.

        Returns:
            Its process id; None when it was dead already.
        """
        child = self._children[name]
        if not child.runs:
            return None
        _kill(child.process)
        child.starts_at = time.monotonic() + self._pause()
        return child.process.pid

    def tend(self) -> None:
        """Start again whoever was dead for long enough."""
        now = time.monotonic()
        for name, child in self._children.items():
            if child.runs:
                continue
            if child.starts_at is None:
                self.deaths[f"{name} with {child.process.returncode}"] += 1
                child.starts_at = now + self._pause()
            elif now >= child.starts_at:
                child.process = _started(child.command, child.environment, child.log)
                child.starts_at = None


def _started(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # so that its processes are one group
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
