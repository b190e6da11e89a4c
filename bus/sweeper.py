"""Put back what a dead worker left behind."""

import redis
import structlog
from celery import Celery

from bus.celery_app import GPU_QUEUE
from bus.ledger import Ledger
from bus.publish import publish_weighing
from schemas.events import WeighingId

log = structlog.get_logger()


def sweep(app: Celery, client: redis.Redis, ledger: Ledger) -> list[WeighingId]:
    """Send the task again of every weighing whose worker died or whose task was lost.

    Several sweepers may run: the ledger tells only one of them to send. A task that is sent once
    too often does no harm, it meets the ledger first.

    Returns:
        The weighings whose tasks were sent.
    """
    queue_empty = client.llen(GPU_QUEUE) == 0
    sent = []
    for weighing in ledger.unfinished():
        if ledger.revive(weighing, queue_empty=queue_empty):
            log.warning("weighing put back into the queue", weighing=str(weighing))
            publish_weighing(app, weighing)
            sent.append(weighing)
    return sent
