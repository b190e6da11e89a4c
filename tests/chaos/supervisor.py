"""Restarts processes that died, as ``restart: unless-stopped`` in a compose file does."""

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

_STOP_TIMEOUT = 30.0  # seconds between SIGTERM and SIGKILL


@dataclass
class _Child:
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes]
    restart_at: float | None = None  # set while the process is dead

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None


class Supervisor:
    """Child processes that may be killed; a context manager that ends them all.

    Args:
        logs: Folder of the logs, one file per child.
        environment: Environment variables of every child.
        restart_delay: Returns how many seconds a dead child stays dead.

    Attributes:
        deaths: Children that died without being killed here, by name and exit code.
    """

    def __init__(
        self, logs: Path, environment: Mapping[str, str], restart_delay: Callable[[], float]
    ) -> None:
        logs.mkdir(parents=True)
        self._logs = logs
        self._environment = environment
        self._restart_delay = restart_delay
        self._children: dict[str, _Child] = {}
        self.deaths: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        children = [child for child in self._children.values() if child.is_running]
        for child in children:
            child.process.terminate()
        for child in children:
            try:
                child.process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                _kill(child.process)

    def start(self, name: str, arguments: Sequence[str], **environment: str) -> None:
        """Start ``python ARGUMENTS``, and restart it until the context is left.

        Args:
            name: Name of the child and of its log.
            environment: Additional environment variables of this child.
        """
        command = [sys.executable, *arguments]
        variables = {**self._environment, **environment}
        log = self._logs / f"{name.replace(' ', '-')}.log"
        process = _start(command, variables, log)
        self._children[name] = _Child(command, variables, log, process)

    def pid(self, name: str) -> int:
        """Return a child's process id, or the last one while it is dead."""
        return self._children[name].process.pid

    def is_running(self, name: str) -> bool:
        """Whether a child runs now."""
        return self._children[name].is_running

    def kill(self, name: str) -> int | None:
        """Kill a child and its whole process group.

        Returns:
            Its process id; None when it was already dead.
        """
        child = self._children[name]
        if not child.is_running:
            return None
        _kill(child.process)
        child.restart_at = time.monotonic() + self._restart_delay()
        return child.process.pid

    def restart_dead(self) -> None:
        """Restart each child whose restart delay is over."""
        now = time.monotonic()
        for name, child in self._children.items():
            if child.is_running:
                continue
            if child.restart_at is None:
                self.deaths[f"{name} with {child.process.returncode}"] += 1
                child.restart_at = now + self._restart_delay()
            elif now >= child.restart_at:
                child.process = _start(child.command, child.environment, child.log)
                child.restart_at = None


def _start(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # its processes form one group
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
