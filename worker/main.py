"""Starts a Celery worker process for Weighbridge's queues."""

import os

from celery import signals

from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE
from worker.tasks import app, settings


def run_worker(queues: list[str]) -> None:
    """Serve the queues until SIGTERM; returns when the worker has ended.

    One task at a time, or as many as the engine serves side by side. The events queue brings the
    beat along, which sends the sweeper round.

    Args:
        queues: names of the queues.
    """
    # Celery would replace our log with its own.
    signals.setup_logging.connect(_keep_logging)
    settings.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = "-".join(queues)
    arguments = [
        "worker",
        *("--queues", ",".join(queues)),
        *("--hostname", f"{name}-{os.getpid()}@%h"),
        *("--concurrency", str(settings.side_by_side if GPU_QUEUE in queues else 1)),
        *("--loglevel", "WARNING"),
        "--without-gossip",
        "--without-mingle",
    ]
    if EVENTS_QUEUE in queues:
        # The plain scheduler keeps nothing on disk: the sweep is all there is, and it may be early.
        arguments += ["--beat", "--scheduler", "celery.beat:Scheduler"]
    try:
        app.worker_main(arguments)
    finally:
        if GPU_QUEUE in queues:
            _end_engine()


def _end_engine() -> None:
    """End the engine with the worker, not a moment later, as its guard would."""
    from worker.inference import engine_of

    engine_of(settings).stop()


def _keep_logging(**_: object) -> None:
    """A receiver of `setup_logging` is how Celery is told that logging is set up already."""
