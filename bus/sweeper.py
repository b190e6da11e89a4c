"""Put back what a dead worker left behind, and what was accepted but never dispatched."""

import structlog

from bus.bus import Bus
from bus.celery_app import GPU_QUEUE, queue_length
from bus.publish import publish_dispatch, publish_weighing
from schemas.events import WeighingId

log = structlog.get_logger()


def sweep(bus: Bus) -> list[WeighingId]:
    """Send the task again of every event and weighing whose worker died or whose task was lost.

    Several sweepers may run: each event and weighing is told to one of them. A task that is sent
    once too often does no harm, it meets the inbox or the ledger first.

    Returns:
        The weighings whose tasks were sent.

    Raises:
        PlatformError: Redis did not take a task; the next sweep will send it.
    """
    if overdue := bus.inbox.overdue():
        log.warning("events waited for too long", events=len(overdue))
        publish_dispatch(bus, overdue)
    due, sent = bus.ledger.due(), []
    tasks_missing = bool(due) and queue_length(bus.client, GPU_QUEUE) < bus.ledger.queued()
    for weighing in due:
        if bus.ledger.requeue(weighing, tasks_missing=tasks_missing):
            log.warning("weighing put back into the queue", weighing=str(weighing))
            publish_weighing(bus, weighing, first=True)
            sent.append(weighing)
    bus.ledger.prune()
    return sent
