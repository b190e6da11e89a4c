"""Put back what a dead worker left behind, and what was accepted but never dispatched."""

import structlog
from celery import Celery

from bus.inbox import Inbox
from bus.ledger import Ledger
from bus.publish import publish_dispatch, publish_weighing
from schemas.events import WeighingId

log = structlog.get_logger()


def sweep(app: Celery, inbox: Inbox, ledger: Ledger, waiting_tasks: int) -> list[WeighingId]:
    """Send the task again of every event and weighing whose worker died or whose task was lost.

    Several sweepers may run: each event and weighing is told to one of them. A task that is sent
    once too often does no harm, it meets the inbox or the ledger first.

    Args:
        waiting_tasks: how many tasks the GPU workers' queue holds.

    Returns:
        The weighings whose tasks were sent.

    Raises:
        PlatformError: Redis did not take a task; the next sweep will send it.
    """
    if overdue := inbox.overdue():
        log.warning("events waited for too long", events=len(overdue))
        publish_dispatch(app, overdue)
    due, sent = ledger.due(), []
    tasks_missing = bool(due) and waiting_tasks < ledger.queued()
    for weighing in due:
        if ledger.requeue(weighing, tasks_missing=tasks_missing):
            log.warning("weighing put back into the queue", weighing=str(weighing))
            publish_weighing(app, weighing, first=True)
            sent.append(weighing)
    ledger.prune()
    return sent
