"""Starts a Celery worker for Weighbridge's queues."""

import os
import threading
import time

from celery import signals

from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE
from worker.liveness import Liveness
from worker.tasks import app, settings

_CHECK_INTERVAL = 1.0  # seconds


def run_worker(queues: list[str]) -> None:
    """Serve the queues until SIGTERM; returns when the worker has ended.

    It runs one task at a time, or as many as the engine serves side by side. A worker of the
    events queue also runs Celery's beat, which starts the sweeper.

    Args:
        queues: Names of the queues.

    Raises:
        PlatformError: The worker exited because it was not consuming.
    """
    # Otherwise Celery replaces our logging with its own.
    signals.setup_logging.connect(_keep_logging)
    settings.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    slots = settings.side_by_side if GPU_QUEUE in queues else 1
    liveness = Liveness(queues, slots)
    signals.worker_ready.connect(liveness.start)
    arguments = [
        "worker",
        *("--queues", ",".join([*queues, liveness.queue])),
        *("--hostname", liveness.name),
        *("--concurrency", str(slots)),
        *("--loglevel", "WARNING"),
        "--without-gossip",
        "--without-mingle",
    ]
    if EVENTS_QUEUE in queues:
        signals.beat_embedded_init.connect(_exit_with_worker)
        # The plain scheduler stores nothing on disk; the sweep may run early after a restart.
        arguments += ["--beat", "--scheduler", "celery.beat:Scheduler"]
    try:
        app.worker_main(arguments)
    finally:
        liveness.end()
        if GPU_QUEUE in queues:
            _end_engine()
    liveness.check()


def _exit_with_worker(**_: object) -> None:
    """In the beat's process: exit when the worker has ended, even if it was killed."""
    worker = os.getppid()

    def watch() -> None:
        while os.getppid() == worker:
            time.sleep(_CHECK_INTERVAL)
        os._exit(0)

    threading.Thread(target=watch, name="worker", daemon=True).start()


def _end_engine() -> None:
    """Stop the engine with the worker; the engine's guard would do it a moment later."""
    from engine import engine_of

    engine_of(settings).stop()


def _keep_logging(**_: object) -> None:
    """Tell Celery, as a receiver of `setup_logging`, that logging is set up."""
