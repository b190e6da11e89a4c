"""One process of an application: starts it, talks with it, and ends all that it started."""

import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from application.protocol import FromApplication, ToApplication, encode, from_application
from engine import guard
from schemas.applications import Application
from schemas.errors import ConfigurationError, PlatformError
from worker.applications.log import ApplicationLog

_PROGRAM = Path(__file__).parents[2] / "application" / "__main__.py"
_GRACE_PERIOD = 2.0  # seconds between SIGTERM and SIGKILL
_POLL_INTERVAL = 1.0  # seconds between two checks while nothing is reported
_LONGEST_LINE = 64 * 2**20  # bytes
_CHUNK = 2**16

# Runs a file as the main module, on any version of Python, with neither its folder nor the working
# folder on the path: what is there is no module.
_RUN = (
    "import runpy, sys; sys.path[:] = filter(None, sys.path); sys.argv[:] = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


class ApplicationProcess:
    """A running application; a context manager that ends it with all that it started.

    Args:
        application: Its interpreter and its limits.
        environment: Makes its whole environment from its own folder, which is removed at the end.
        log: The file that keeps what it prints.
        launcher: Command line that starts it, such as ``bwrap ...``; may be empty. ``{folder}``
            in it stands for the process's own folder.
    """

    def __init__(
        self,
        application: Application,
        environment: Callable[[Path], Mapping[str, str]],
        log: Path,
        launcher: str = "",
    ) -> None:
        self._application = application
        _check_interpreter(application, launcher)
        self._log = ApplicationLog(log)
        self._buffer = bytearray()
        self._has_ended = False
        folder = Path(tempfile.mkdtemp(prefix="wb-application-"))
        to_read, self._to_write = os.pipe()
        self._to_read, to_write = os.pipe()
        try:
            self._process = self._start(folder, environment(folder), launcher, to_read, to_write)
        except BaseException:
            for descriptor in (self._to_write, self._to_read):
                os.close(descriptor)
            self._log.close()
            raise
        finally:
            os.close(to_read)
            os.close(to_write)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def send(self, message: ToApplication) -> None:
        """Send one message.

        Raises:
            PlatformError: The process has ended.
        """
        line = encode(message)
        try:
            while line:
                line = line[os.write(self._to_write, line) :]
        except BrokenPipeError as error:
            raise self.ended() from error

    def receive(self, deadline: float, while_waiting: Callable[[], None]) -> FromApplication:
        """Wait for the next message.

        Args:
            deadline: When waiting ends, by ``time.monotonic``.
            while_waiting: Called about once a second; what it raises is raised.

        Raises:
            PlatformError: The process has ended, or sends what is no message, or the deadline has
                passed.
        """
        while b"\n" not in self._buffer:
            while_waiting()
            if time.monotonic() > deadline:
                limit = self._application.timeout
                what = f"took longer than {limit:g} s (application.timeout)"
                raise self._failure(what, self._log.last_lines())
            if len(self._buffer) > _LONGEST_LINE:
                raise self._failure(f"sent a message of more than {_LONGEST_LINE} bytes", "")
            if select.select([self._to_read], [], [], _POLL_INTERVAL)[0]:
                chunk = os.read(self._to_read, _CHUNK)
                if not chunk:
                    raise self.ended()
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return from_application(bytes(line))
        except (ValueError, RecursionError) as error:
            raise self._failure(f"sent what is no message ({_oneline(error)})", "") from error

    def is_running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process.poll() is None

    def end(self) -> None:
        """End every process that the application started; its folder is removed."""
        if self._has_ended:
            return
        self._has_ended = True
        os.close(self._to_write)  # the application ends by itself when nobody can talk to it
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        os.close(self._to_read)
        self._log.close()

    def ended(self) -> PlatformError:
        """The error for a process that ended too early, with the end of its log."""
        status = self._process.wait()
        return self._failure(_how_it_ended(status), self._log.last_lines())

    def _start(
        self,
        folder: Path,
        environment: Mapping[str, str],
        launcher: str,
        to_read: int,
        to_write: int,
    ) -> subprocess.Popen[bytes]:
        memory = int((self._application.memory_gib or 0) * 2**30)
        guarded = guard.command(psutil.Process(), folder, _GRACE_PERIOD, memory)
        python = self._application.python or sys.executable
        program = [python, "-c", _RUN, str(_PROGRAM), "--read", str(to_read), "--write"]
        launch = [word.replace("{folder}", str(folder)) for word in shlex.split(launcher)]
        return subprocess.Popen(
            [*guarded, *launch, *program, str(to_write)],
            stdin=subprocess.DEVNULL,
            stdout=self._log.writer,
            stderr=self._log.writer,
            cwd=folder,
            env=dict(environment),
            pass_fds=(to_read, to_write),
            start_new_session=True,
        )

    def _failure(self, what: str, last_lines: str) -> PlatformError:
        said = f" Its last lines:\n{last_lines}" if last_lines else ""
        return PlatformError(f"The application {what}.", fix=f"Its log is {self._log.path}.{said}")


def _check_interpreter(application: Application, launcher: str) -> None:
    """Require that the gate's interpreter exists; a launcher may have it in a container."""
    python = application.python
    if python and not launcher and shutil.which(python) is None:
        raise ConfigurationError(
            f"The interpreter {python} of the gate's application is no program on this machine.",
            fix="Install the application's environment on every GPU worker, or change python.",
        )


def _how_it_ended(status: int) -> str:
    """Say how, from an exit status that is 128 plus a signal's number, as in a shell."""
    try:
        name = signal.Signals(status - 128).name
    except ValueError:
        return f"ended with exit code {status}"
    hint = ", as when memory runs out" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def _oneline(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
