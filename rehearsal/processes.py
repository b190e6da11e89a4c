"""The processes that a rehearsal starts, and stops at its end."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil

from schemas.errors import PlatformError

_KILL_AFTER = 20.0  # seconds between SIGTERM and SIGKILL
_POLL_INTERVAL = 0.05  # seconds between two checks of a condition
_LAST_LINES = 12  # of a log, in an error message


@contextmanager
def stop_on_exit(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop the process, and all that it started, when the context is left.

    It is terminated, and killed after a timeout. What it started ends with it or soon after, as an
    engine does, and is killed after the same timeout.
    """
    try:
        yield
    finally:
        started = _descendants(process)
        process.terminate()
        try:
            process.wait(_KILL_AFTER)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for descendant in _still_running(started, _KILL_AFTER):
            with suppress(psutil.NoSuchProcess):
                descendant.kill()
        _still_running(started, _KILL_AFTER)


def _still_running(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until the processes have ended; return those that run after the given seconds."""
    deadline = time.monotonic() + seconds
    while (running := list(filter(_is_running, processes))) and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL)
    return running


def _is_running(process: psutil.Process) -> bool:
    """Whether it runs; where nothing reaps orphans, an ended one remains as a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Leave the context on the first SIGTERM or ctrl-C.

    Later signals are ignored, so that they do not interrupt the end of the children.
    """

    def leave(number: int, _: object) -> None:
        for other in (signal.SIGTERM, signal.SIGINT):
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_until(
    condition: Callable[[], bool],
    process: subprocess.Popen[bytes],
    name: str,
    log: Path,
    seconds: float,
) -> None:
    """Wait for a condition that depends on a process.

    Args:
        condition: The condition.
        process: The process; if it exits, waiting fails at once.
        name: The name of the process in messages.
        log: The log of the process; a failure shows its last lines.
        seconds: The timeout.

    Raises:
        PlatformError: The process exited first, or the timeout expired.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise PlatformError(f"{name} ended with {process.returncode}.", fix=_last_lines(log))
        if time.monotonic() > deadline:
            raise PlatformError(f"{name} did not start in {seconds:g} s.", fix=_last_lines(log))
        time.sleep(_POLL_INTERVAL)


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:] if log.exists() else []
    return f"The end of {log}:\n" + "\n".join(lines)


class Processes:
    """Children of a rehearsal, each with its own log; a context manager that stops them all.

    Each child has its own session, so that a ctrl-C reaches only the rehearsal, which stops the
    children in reverse order.

    Args:
        logs: The folder of the logs, one file per child.
        environment: The environment of every child.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._environment = dict(environment)
        self._stack = ExitStack()
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start ``python ARGUMENTS`` as a child that runs until the end.

        Args:
            name: The name of the child, and of its log.
            arguments: The arguments of Python.
        """
        with self._log(name).open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, *arguments],
                env=self._environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._stack.enter_context(stop_on_exit(child))
        self._children[name] = child

    def run(self, name: str, arguments: Sequence[str], *, show_output: bool = False) -> None:
        """Run ``python ARGUMENTS`` to its end.

        Args:
            name: The name of the process, and of its log.
            arguments: The arguments of Python.
            show_output: Let the process write to our output, where it shows its progress.

        Raises:
            PlatformError: The process failed; the message has its last log lines.
        """
        with self._log(name).open("ab") as log:
            done = subprocess.run(
                [sys.executable, *arguments],
                env=self._environment,
                stdout=None if show_output else log,
                stderr=None if show_output else log,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        if done.returncode != 0:
            raise PlatformError(
                f"The {name} process ended with {done.returncode}.",
                fix=_last_lines(self._log(name)),
            )

    def child(self, name: str) -> subprocess.Popen[bytes]:
        """Return the child with this name."""
        return self._children[name]

    def wait_for(self, name: str, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition that depends on the child with this name.

        Raises:
            PlatformError: The child exited first, or the timeout expired.
        """
        wait_until(condition, self._children[name], f"The {name}", self._log(name), seconds)

    def check(self) -> None:
        """Require that every child still runs.

        Raises:
            PlatformError: A child has exited; the message has its last log lines.
        """
        for name, child in self._children.items():
            if child.poll() is not None:
                raise PlatformError(
                    f"The {name} ended with {child.returncode}.", fix=_last_lines(self._log(name))
                )

    def _log(self, name: str) -> Path:
        return self._logs / f"{name.replace(' ', '-')}.log"
