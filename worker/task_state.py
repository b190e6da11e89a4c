"""Publishes a weighing's progress as the state of its Celery task: PROGRESS, with step and detail.

``AsyncResult(task_id, app=worker_app(settings))`` reads it from the result backend, as ``state``
and ``info``. Flower reads events instead, and shows an event that Celery does not define,
``task-progress``, as the state of that name (celery 5.7, ``celery.events.state``).
"""

import time

import structlog
from celery import Task

from schemas.weighings import Progress

_STATE = "PROGRESS"
_EVENT = "task-progress"
_COUNT_EVERY = 1.0  # seconds between two reports that differ only in their count

log = structlog.get_logger()


class TaskState:
    """The state of a running task; call it with each report.

    A call lasts milliseconds, or seconds if Redis is away, and never fails: the ledger is what
    counts.

    Args:
        task: A bound task that runs in this thread.
    """

    def __init__(self, task: Task) -> None:
        self._app = task.app
        self._id: str = task.request.id
        self._hostname: str = task.request.hostname
        self._shown: tuple[str, str] | None = None
        self._shown_at = 0.0

    def __call__(self, progress: Progress) -> None:
        """Publish a report, unless only its count differs from a recent one."""
        shown, now = (progress.step, progress.detail), time.monotonic()
        recent = shown == self._shown and now - self._shown_at < _COUNT_EVERY
        if recent and progress.done < progress.total:
            return
        self._shown, self._shown_at = shown, now
        try:
            self._app.backend.store_result(self._id, progress.model_dump(), _STATE)
            self._send_event(progress)
        except Exception as error:  # no error here may stop the weighing
            log.warning("task state not published", error=f"{type(error).__name__}: {error}")

    def _send_event(self, progress: Progress) -> None:
        # Not Task.send_event, which retries the connection for longer.
        options = {"max_retries": 1}
        with self._app.connection_for_write(transport_options=options) as connection:
            dispatcher = self._app.events.Dispatcher(
                connection, hostname=self._hostname, buffer_while_offline=False
            )
            fields = progress.model_dump() | {"result": _sentence(progress)}
            dispatcher.send(_EVENT, uuid=self._id, **fields)


def _sentence(progress: Progress) -> str:
    """What Flower shows as the task's result."""
    count = f"{progress.done} of {progress.total}" if progress.total else ""
    return " ".join(part for part in (f"{progress.step}:", progress.detail, count) if part)
