"""Starts, finds, calls and ends one model server process.

The server listens on a Unix socket in a folder that only this user can enter, because the
endpoints that exchange its weights need no API key (docs/upstream/models-and-engines.md,
"Exchanging weights"). It runs under ``guard.py``, which ends it when its owner ends. Other
processes find it by ``engine.json`` in the run folder.
"""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ValidationError

from engine import guard
from engine.control import ControlError, request
from engine.engine_log import LogTail, last_errors
from engine.private_folder import make_private_folder
from schemas.errors import PlatformError

# Seconds between two health checks during a start.
_POLL_INTERVAL = 0.25
# Seconds. A healthy engine answers at once, from its event loop.
_HEALTH_TIMEOUT = 10.0

# What a failed request raises.
REQUEST_ERRORS = (OSError, HTTPException, ControlError)

# Guards outlive the call that starts them, and Python warns about a dropped Popen. A guard that has
# ended remains a zombie of this process until it is polled.
_guards: list[subprocess.Popen[bytes]] = []


class EngineRecord(BaseModel):
    """What another process needs to use a running engine.

    Attributes:
        identity: Digest of everything that cannot be exchanged while the engine runs.
        guard_pid: The guard's process id.
        guard_started: The guard's start time, in seconds since the epoch, as psutil reports it.
        owner_pid: Process id of the owner; the engine ends when the owner ends.
        socket: The Unix socket.
        started_on: Folder of the checkpoint with which it was started.
        loaded: Digest of the loaded version; None during an exchange.
        fingerprints: Digest of the weights read, by the fingerprint that the engine had with them
            (see ``loading``); None if the digest is not known.
    """

    identity: str
    guard_pid: int
    guard_started: float
    owner_pid: int
    socket: Path
    started_on: Path
    loaded: str | None
    fingerprints: dict[str, str | None] = {}


class EngineServer:
    """A running engine.

    Args:
        run_dir: Folder of the record and the log.
        record: How to connect to it.
    """

    def __init__(self, run_dir: Path, record: EngineRecord) -> None:
        self._run_dir = run_dir
        self.record = record

    @classmethod
    def find(cls, run_dir: Path) -> "EngineServer | None":
        """Find the engine of this run folder, whichever process started it.

        Returns:
            The engine; None if there is none or its guard has ended.
        """
        try:
            record = EngineRecord.model_validate_json((run_dir / "engine.json").read_text("utf-8"))
        except (FileNotFoundError, ValidationError):
            return None
        server = cls(run_dir, record)
        return server if server._is_running() else None

    @classmethod
    def start(
        cls,
        run_dir: Path,
        *,
        command: list[str],
        environment: dict[str, str],
        identity: str,
        started_on: Path,
        loaded: str | None,
        owner_pid: int,
    ) -> "EngineServer":
        """Start a server and return immediately; ``wait_until_healthy`` waits for it.

        Args:
            run_dir: Folder of the record and the log.
            command: The server's command line, without the socket.
            environment: The server's whole environment.
            identity: Digest of everything that cannot be exchanged later.
            started_on: Folder of the checkpoint that the command loads.
            loaded: Digest of the version that the command loads; None if it loads none.
            owner_pid: Process id of the owner; the engine ends when the owner ends.

        Raises:
            ConfigurationError: There is no folder for its sockets.
        """
        scratch = make_private_folder()
        socket = scratch / "engine.sock"
        owner = psutil.Process(owner_pid)
        guarded = guard.command(owner, scratch, guard.GRACE_PERIOD)
        with log_file(run_dir).open("wb") as log:
            process = subprocess.Popen(
                [*guarded, *command, "--uds", str(socket)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=run_dir,
                # vLLM and Python open sockets there, too.
                env=environment | {"TMPDIR": str(scratch), "VLLM_RPC_BASE_PATH": str(scratch)},
                start_new_session=True,  # Ctrl-C is for the owner; the guard ends with it
            )
        _guards.append(process)
        record = EngineRecord(
            identity=identity,
            guard_pid=process.pid,
            guard_started=psutil.Process(process.pid).create_time(),
            owner_pid=owner_pid,
            socket=socket,
            started_on=started_on,
            loaded=loaded,
        )
        server = cls(run_dir, record)
        server.record_loaded(loaded)
        return server

    def wait_until_healthy(self, budget_s: float, on_progress: Callable[[str], None]) -> None:
        """Wait until the engine is healthy.

        Args:
            budget_s: Longest start, in seconds.
            on_progress: Receives the lines of the engine's log that show progress.

        Raises:
            PlatformError: The engine ended or timed out; the message holds its last errors.
        """
        tail = LogTail(log_file(self._run_dir))
        deadline = time.monotonic() + budget_s
        while not self.is_healthy():
            for line in tail.progress():
                on_progress(line)
            if not self._is_running():
                raise self.failure("ended while it started")
            if time.monotonic() > deadline:
                self.stop()
                raise self.failure(f"did not start within {budget_s:.0f} s")
            time.sleep(_POLL_INTERVAL)

    def is_healthy(self) -> bool:
        """Whether the engine runs and answers ``/health``."""
        if not self._is_running():
            return False
        try:
            self.request("GET", "/health")
        except REQUEST_ERRORS:
            return False
        return True

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout: float = _HEALTH_TIMEOUT,
    ) -> dict[str, Any]:
        """Call one of the engine's endpoints; see ``control.request``.

        Raises:
            OSError, HTTPException, ControlError: As ``control.request`` raises them.
        """
        return request(self.record.socket, method, path, body=body, timeout=timeout)

    def stop(self) -> None:
        """End the engine and its guard, and wait for both."""
        found = EngineServer.find(self._run_dir)
        if found is None or found.record.guard_pid == self.record.guard_pid:  # not a newer engine's
            (self._run_dir / "engine.json").unlink(missing_ok=True)
        if self._is_running():
            psutil.Process(self.record.guard_pid).send_signal(signal.SIGTERM)
            # Polled, not waited for: where nothing reaps orphans, the guard remains as a zombie.
            deadline = time.monotonic() + 2 * guard.GRACE_PERIOD
            while self._is_running() and time.monotonic() < deadline:
                time.sleep(guard.EXIT_POLL_INTERVAL)
        shutil.rmtree(self.record.socket.parent, ignore_errors=True)  # in case the guard was killed

    def failure(self, what: str) -> PlatformError:
        """An error that says what the engine did, with the last errors in its log."""
        log = log_file(self._run_dir)
        return PlatformError(f"The engine {what}: {last_errors(log)}.", fix=f"Its log is {log}.")

    def _is_running(self) -> bool:
        is_running = guard.is_running(self.record.guard_pid, self.record.guard_started)
        # poll() reaps those that have ended.
        _guards[:] = [process for process in _guards if process.poll() is None]
        return is_running

    def record_loaded(self, loaded: str | None) -> None:
        """Record which version is loaded, for other processes."""
        self.record.loaded = loaded
        new = self._run_dir / "engine.json.new"
        new.write_text(self.record.model_dump_json(), "utf-8")
        new.replace(self._run_dir / "engine.json")


def log_file(run_dir: Path) -> Path:
    """The file of the engine's output; each start overwrites it."""
    return run_dir / "engine.log"
