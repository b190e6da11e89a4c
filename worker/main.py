"""Starts a Celery worker for Weighbridge's queues."""

import structlog
from celery import signals

from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE, SWEEP_TASK
from bus.heartbeat import BEATS_PER_LEASE, Heartbeat
from worker.liveness import Liveness
from worker.tasks import app, settings

_SWEEP_INTERVAL = settings.lease / BEATS_PER_LEASE  # seconds

log = structlog.get_logger()


def run_worker(queues: list[str]) -> None:
    """Serve the queues until SIGTERM; returns when the worker has ended.

    It runs one task at a time, or as many as the engine serves side by side. A worker of the
    events queue also sends the sweeper's task at each heartbeat. Celery's beat would do that from a
    child process, and nothing would notice that it died.

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
    sweeps = Heartbeat("sweeps", _SWEEP_INTERVAL, _send_sweep)
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
        signals.worker_ready.connect(lambda **_: sweeps.start(), weak=False)
    try:
        app.worker_main(arguments)
    finally:
        sweeps.stop(timeout=settings.lease)
        liveness.end()
        if GPU_QUEUE in queues:
            _end_engine()
    liveness.check()


def _send_sweep() -> None:
    try:
        # It expires, so that sweeps do not pile up.
        app.send_task(SWEEP_TASK, expires=_SWEEP_INTERVAL, ignore_result=True, retry=False)
    except Exception as error:  # whatever it is, the next one must be sent
        log.warning("a sweep could not be sent", error=str(error))


def _end_engine() -> None:
    """Stop the engine with the worker; the engine's guard would do it a moment later."""
    from engine import engine_of

    engine_of(settings).stop()


def _keep_logging(**_: object) -> None:
    """Tell Celery, as a receiver of `setup_logging`, that logging is set up."""
