"""Starts a Celery worker process for Weighbridge's queues."""

import os
import threading
import time

from celery import signals

from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE
from worker.liveness import Liveness
from worker.tasks import app, settings

_LOOK = 1.0  # seconds


def run_worker(queues: list[str]) -> None:
    """Serve the queues until SIGTERM; returns when the worker has ended.

    One task at a time, or as many as the engine serves side by side. The events queue brings the
    beat along, which sends the sweeper round.

    Args:
        queues: names of the queues.

    Raises:
        PlatformError: it ended because it took nothing from its queues any more.
    """
    # Celery would replace our log with its own.
    signals.setup_logging.connect(_keep_logging)
    settings.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    slots = settings.side_by_side if GPU_QUEUE in queues else 1
    pulse = Liveness(queues, slots)
    signals.worker_ready.connect(pulse.start)
    arguments = [
        "worker",
        *("--queues", ",".join([*queues, pulse.queue])),
        *("--hostname", pulse.name),
        *("--concurrency", str(slots)),
        *("--loglevel", "WARNING"),
        "--without-gossip",
        "--without-mingle",
    ]
    if EVENTS_QUEUE in queues:
        signals.beat_embedded_init.connect(_end_with_the_worker)
        # The plain scheduler keeps nothing on disk: the sweep is all there is, and it may be early.
        arguments += ["--beat", "--scheduler", "celery.beat:Scheduler"]
    try:
        app.worker_main(arguments)
    finally:
        pulse.end()
        if GPU_QUEUE in queues:
            _end_engine()
    pulse.check()


def _end_with_the_worker(**_: object) -> None:
    """In the beat's process: have it end when the worker is gone, however the worker ended."""
    worker = os.getppid()

    def watch() -> None:
        while os.getppid() == worker:
            time.sleep(_LOOK)
        os._exit(0)

    threading.Thread(target=watch, name="worker", daemon=True).start()


def _end_engine() -> None:
    """End the engine with the worker, not a moment later, as its guard would."""
    from engine import engine_of

    engine_of(settings).stop()


def _keep_logging(**_: object) -> None:
    """A receiver of `setup_logging` is how Celery is told that logging is set up already."""
