"""One model server process: started, found again, asked, ended.

The server listens on a Unix socket in a folder that only this user can enter, because the
endpoints that exchange its weights ask for no key (docs/upstream/models-and-engines.md,
"Exchanging weights"). It runs below ``guard.py``, which ends it with its owner. ``engine.json`` in
the run folder lets another process find it.
"""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ValidationError

from engine import guard
from engine.control import ControlError, ask
from engine.log import LogTail, last_errors
from engine.private_folder import make_private_folder
from schemas.errors import PlatformError

# Seconds between two questions whether the engine is up.
_ASK_EVERY = 0.25
# Seconds a healthy engine needs at most to say so; it answers from its own event loop.
_HEALTH_TIMEOUT = 10.0

# What asking raises when the engine did not do as asked.
UNANSWERED = (OSError, HTTPException, ControlError)

# Guards outlive the call that starts them, and Python warns about a dropped Popen. One that has
# ended stays as a zombie of this process until it is asked.
_guards: list[subprocess.Popen[bytes]] = []


class EngineRecord(BaseModel):
    """What another process must know to use a running engine.

    Attributes:
        identity: What the engine was started with and cannot exchange.
        guard_pid: The guard process.
        guard_started: The guard's start time, in seconds since the epoch, as psutil reports it.
        owner_pid: The process that the engine ends with.
        socket: The Unix socket.
        started_on: Folder of the checkpoint that it was started on.
        loaded: Digest of the version whose weights are loaded; None while they are exchanged.
        fingerprints: What the engine was with each of the weights that it has held
            (``loading``): digest of the weights by fingerprint; None while it is not known.
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
        record: How to reach it.
    """

    def __init__(self, run_dir: Path, record: EngineRecord) -> None:
        self._run_dir = run_dir
        self.record = record

    @classmethod
    def find(cls, run_dir: Path) -> "EngineServer | None":
        """The engine that some process started in this run folder, if its guard still runs."""
        try:
            record = EngineRecord.model_validate_json((run_dir / "engine.json").read_text("utf-8"))
        except (FileNotFoundError, ValidationError):
            return None
        server = cls(run_dir, record)
        return server if server._is_guarded() else None

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
        """Start a server and return at once; ``wait_until_healthy`` says when it is up.

        Args:
            run_dir: Folder of the record and the log.
            command: The server's command line, without the socket.
            environment: Every environment variable of the server.
            identity: What cannot be exchanged later.
            started_on: Folder of the checkpoint that the command loads.
            loaded: Digest of the version that the command loads; None if it loads none.
            owner_pid: The process that the engine ends with.

        Raises:
            ConfigurationError: There is no folder for its sockets.
        """
        scratch = make_private_folder()
        socket = scratch / "engine.sock"
        owner = psutil.Process(owner_pid)
        guarded = [sys.executable, "-P", guard.__file__, str(owner.pid), str(owner.create_time())]
        with log_file(run_dir).open("wb") as log:
            process = subprocess.Popen(
                [*guarded, str(scratch), "--", *command, "--uds", str(socket)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=run_dir,
                # vLLM and Python open sockets there, too.
                env=environment | {"TMPDIR": str(scratch), "VLLM_RPC_BASE_PATH": str(scratch)},
                start_new_session=True,  # ctrl-C is for the owner; the guard follows it
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
        server.remember(loaded)
        return server

    def wait_until_healthy(self, budget_s: float, on_progress: Callable[[str], None]) -> None:
        """Wait until the engine answers.

        Args:
            budget_s: Seconds it may take.
            on_progress: Gets what the engine logs about its progress.

        Raises:
            PlatformError: The engine ended or the budget is used up; with its last errors.
        """
        tail = LogTail(log_file(self._run_dir))
        deadline = time.monotonic() + budget_s
        while not self.is_healthy():
            for line in tail.progress():
                on_progress(line)
            if not self._is_guarded():
                raise self.failure("ended while it started")
            if time.monotonic() > deadline:
                self.stop()
                raise self.failure(f"did not start within {budget_s:.0f} s")
            time.sleep(_ASK_EVERY)

    def is_healthy(self) -> bool:
        """Whether the engine runs and answers."""
        if not self._is_guarded():
            return False
        try:
            self.ask("GET", "/health")
        except UNANSWERED:
            return False
        return True

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout: float = _HEALTH_TIMEOUT,
    ) -> dict[str, Any]:
        """Ask one of the engine's endpoints, as ``control.ask`` does.

        Raises:
            OSError, HTTPException, ControlError: See there.
        """
        return ask(self.record.socket, method, path, body=body, timeout=timeout)

    def stop(self) -> None:
        """End the engine and its guard, and wait until both are gone."""
        found = EngineServer.find(self._run_dir)
        if found is None or found.record.guard_pid == self.record.guard_pid:  # and no later one
            (self._run_dir / "engine.json").unlink(missing_ok=True)
        if self._is_guarded():
            process = psutil.Process(self.record.guard_pid)
            process.send_signal(signal.SIGTERM)
            psutil.wait_procs([process], timeout=2 * guard.GRACE)
        shutil.rmtree(self.record.socket.parent, ignore_errors=True)  # a guard removes it, too

    def failure(self, what: str) -> PlatformError:
        """An error that says what the engine did and why, in the engine's own words."""
        log = log_file(self._run_dir)
        return PlatformError(f"The engine {what}: {last_errors(log)}.", fix=f"Its log is {log}.")

    def _is_guarded(self) -> bool:
        is_running = guard.is_running(self.record.guard_pid, self.record.guard_started)
        # One that has ended is there until it is asked how.
        _guards[:] = [process for process in _guards if process.poll() is None]
        return is_running

    def remember(self, loaded: str | None) -> None:
        """Write down which version is loaded, for other processes."""
        self.record.loaded = loaded
        new = self._run_dir / "engine.json.new"
        new.write_text(self.record.model_dump_json(), "utf-8")
        new.replace(self._run_dir / "engine.json")


def log_file(run_dir: Path) -> Path:
    """Where the engine's output goes; each start begins it anew."""
    return run_dir / "engine.log"
