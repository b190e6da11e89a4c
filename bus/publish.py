"""Put an event on the bus, and a weighing's task into its queue."""

from celery import Celery
from kombu.exceptions import OperationalError

from bus.celery_app import DISPATCH_TASK, WEIGH_TASK
from schemas.errors import PlatformError
from schemas.events import ModelVersionEvent, WeighingId


def publish(app: Celery, event: ModelVersionEvent) -> str:
    """Put an event on the bus. When this returns, Redis has it.

    Returns:
        The id of the Celery task that will dispatch it.

    Raises:
        PlatformError: Redis did not take it; nothing was enqueued.
    """
    return _send(app, DISPATCH_TASK, event.model_dump_json())


def publish_weighing(app: Celery, weighing: WeighingId) -> str:
    """Put the task of an opened weighing into the GPU workers' queue.

    Returns:
        The id of the Celery task.

    Raises:
        PlatformError: Redis did not take it; the sweeper will send it later.
    """
    return _send(app, WEIGH_TASK, str(weighing))


def _send(app: Celery, task: str, argument: str) -> str:
    try:
        return str(app.send_task(task, args=[argument]).id)
    except OperationalError as error:
        raise PlatformError(
            f"Redis at {_host(app)} did not take the event: {error}.",
            fix="Start Redis or mend CELERY_BROKER_URL, then send it again.",
        ) from error


def _host(app: Celery) -> str:
    # as_uri() leaves the password out.
    return str(app.connection_for_write().as_uri())
