"""Processes of applications with their imports done, which wait for the next version.

Imports take seconds, more than the evaluation of a small model. So a worker keeps one such process
for each application that it has run, until it has waited for ``MAX_IDLE`` seconds.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from application.protocol import Failed, Prepare, Ready
from engine.gateway import Gateway
from schemas.applications import Application
from schemas.errors import PlatformError, WeighbridgeError
from schemas.settings import Settings
from worker.applications.environment import Door, application_environment
from worker.applications.process import ApplicationProcess

MAX_IDLE = 600.0
"""Seconds that a process waits for the next version."""


class Launch(NamedTuple):
    """What a process is started with: another one of an equal launch may take its place.

    Attributes:
        gate: The gate's name, for the name of its log.
        application: Its interpreter, modules and limits.
        settings: The operator's choices.
        wandb_key: The W&B key that it writes its traces with.
    """

    gate: str
    application: Application
    settings: Settings
    wandb_key: str

    @property
    def key(self) -> str:
        """The same for equal launches."""
        return f"{self.gate} {self.application.model_dump_json()} {self.wandb_key}"


class PreparedProcess:
    """A process that imports an application's modules, and its way to the models.

    Args:
        launch: What it is started with.

    Attributes:
        gateway: Where the process reaches the version, once it is served, and other models.
        process: The process.
    """

    def __init__(self, launch: Launch) -> None:
        application, settings = launch.application, launch.settings
        log = f"{launch.gate}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid4().hex[:4]}.log"
        with ExitStack() as stack:
            self.gateway = stack.enter_context(Gateway(application.models))
            door = Door(self.gateway.url, self.gateway.token)
            self.process = stack.enter_context(
                ApplicationProcess(
                    application,
                    partial(
                        application_environment,
                        application,
                        door,
                        wandb_key=launch.wandb_key,
                        source=os.environ,
                    ),
                    settings.run_dir / "applications" / log,
                    settings.application_launcher or "",
                )
            )
            self.process.send(Prepare(modules=application.modules))
            self._stack = stack.pop_all()
        self._ready: Ready | None = None

    def ready(self, deadline: float, check: Callable[[], None]) -> Ready:
        """Wait until the modules are imported.

        Args:
            deadline: When waiting ends, by ``time.monotonic``.
            check: Called about once a second; what it raises is raised.

        Raises:
            ConfigurationError: The interpreter cannot run the application.
            PlatformError: The process ended, or the deadline has passed.
        """
        if self._ready is None:
            report = self.process.receive(deadline, check)
            if isinstance(report, Failed):
                raise report.error()
            if not isinstance(report, Ready):
                raise PlatformError(f"An application began with '{report.type}', not with 'ready'.")
            self._ready = report
        return self._ready

    def end(self) -> None:
        """End the process and its gateway."""
        self._stack.close()


class Spares:
    """The prepared processes of this worker, one for each launch.

    Args:
        max_idle: Seconds after which one is ended.
    """

    def __init__(self, max_idle: float = MAX_IDLE) -> None:
        self._max_idle = max_idle
        self._lock = threading.Lock()
        self._spares: dict[str, tuple[PreparedProcess, threading.Timer]] = {}

    def take(self, launch: Launch) -> PreparedProcess:
        """Return the prepared process of a launch, or start one."""
        with self._lock:
            found, timer = self._spares.pop(launch.key, (None, None))
        if timer:
            timer.cancel()
        if found and found.process.is_running():
            return found
        if found:
            found.end()
        return PreparedProcess(launch)

    def prepare(self, launch: Launch) -> None:
        """Start a process for the next version of a launch, unless one waits already.

        If it cannot be started, the next weighing says why.
        """
        with self._lock, suppress(WeighbridgeError, OSError):
            if launch.key not in self._spares:
                timer = threading.Timer(self._max_idle, self._end, [launch.key])
                timer.daemon = True
                self._spares[launch.key] = (PreparedProcess(launch), timer)
                timer.start()

    def end(self) -> None:
        """End all of them."""
        for key in list(self._spares):
            self._end(key)

    def _end(self, key: str) -> None:
        with self._lock:
            found, timer = self._spares.pop(key, (None, None))
        if found and timer:
            timer.cancel()
            found.end()


spares = Spares()
"""Those of this process."""
