"""Requeue the weighings of dead workers, and events that were never dispatched."""

import structlog

from bus.bus import Bus
from bus.celery_app import GPU_QUEUE, queue_length
from bus.publish import publish_dispatch, publish_weighing
from schemas.events import WeighingId

log = structlog.get_logger()


def sweep(bus: Bus) -> list[WeighingId]:
    """Send the tasks of events and weighings again whose worker died or whose task was lost.

    Several sweepers may run; each event and weighing goes to one of them. A duplicate task does no
    harm, because every task checks the inbox or the ledger first.

    Returns:
        The weighings whose tasks were sent.

    Raises:
        PlatformError: Redis did not accept a task; the next sweep sends it.
    """
    if overdue := bus.inbox.overdue():
        log.warning("events waited too long for dispatch", events=len(overdue))
        publish_dispatch(bus, overdue)
    due, sent = bus.ledger.due(), []
    tasks_missing = bool(due) and queue_length(bus.client, GPU_QUEUE) < bus.ledger.count_queued()
    for weighing in due:
        if bus.ledger.requeue(weighing, tasks_missing=tasks_missing):
            log.warning("weighing requeued", weighing=str(weighing))
            publish_weighing(bus, weighing, first=True)
            sent.append(weighing)
    bus.ledger.prune()
    return sent
