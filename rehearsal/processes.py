"""The processes that a rehearsal starts, and that are gone when it ends."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from schemas.errors import PlatformError

_GRACE = 20.0  # seconds between SIGTERM and SIGKILL
_LOOK = 0.05  # seconds between two looks at a condition
_LAST_LINES = 12


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process when the context is left: asked first, killed after a grace."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Leave the context on SIGTERM or ctrl-C, once: what ends the children is not interrupted."""

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
    """Wait for a condition that a process brings about.

    Raises:
        PlatformError: the process ended first, or the time is over; with its last log lines.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise PlatformError(f"{name} ended with {process.returncode}.", fix=_last_lines(log))
        if time.monotonic() > deadline:
            raise PlatformError(f"{name} did not start in {seconds:g} s.", fix=_last_lines(log))
        time.sleep(_LOOK)


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:] if log.exists() else []
    return f"The end of {log}:\n" + "\n".join(lines)


class Processes:
    """Children of a rehearsal, each with its own log; a context manager that ends them all.

    They are started in sessions of their own, so that a ctrl-C reaches only the rehearsal, which
    ends them in reverse order.

    Args:
        logs: folder of the logs, one file per child.
        environment: what every child gets.
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
        """Start `python ARGUMENTS` as a child that runs until the end.

        Args:
            name: of the child, and of its log.
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
        self._stack.enter_context(ended(child))
        self._children[name] = child

    def run(self, name: str, arguments: Sequence[str], *, shown: bool = False) -> None:
        """Run `python ARGUMENTS` to its end.

        Args:
            name: of the process, and of its log.
            shown: let it write to our own output, because it shows its progress there.

        Raises:
            PlatformError: it failed; with its last log lines.
        """
        with self._log(name).open("ab") as log:
            done = subprocess.run(
                [sys.executable, *arguments],
                env=self._environment,
                stdout=None if shown else log,
                stderr=None if shown else log,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        if done.returncode != 0:
            raise PlatformError(
                f"The {name} process ended with {done.returncode}.",
                fix=_last_lines(self._log(name)),
            )

    def child(self, name: str) -> subprocess.Popen[bytes]:
        """The child of that name."""
        return self._children[name]

    def wait_for(self, name: str, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition that the child of that name brings about.

        Raises:
            PlatformError: it ended first, or the time is over.
        """
        wait_until(condition, self._children[name], f"The {name}", self._log(name), seconds)

    def check(self) -> None:
        """See that every child still runs.

        Raises:
            PlatformError: one has ended; with its last log lines.
        """
        for name, child in self._children.items():
            if child.poll() is not None:
                raise PlatformError(
                    f"The {name} ended with {child.returncode}.", fix=_last_lines(self._log(name))
                )

    def _log(self, name: str) -> Path:
        return self._logs / f"{name.replace(' ', '-')}.log"
