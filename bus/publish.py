"""Put events on the bus and tasks into their queues."""

from collections.abc import Sequence

import redis
import structlog
from kombu.exceptions import OperationalError

from bus.bus import Bus
from bus.celery_app import DISPATCH_TASK, FIRST, LATER, WEIGH_TASK
from schemas.errors import PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate

_EVENTS_PER_TASK = 500  # one worker dispatches them in sequence

log = structlog.get_logger()


def publish(bus: Bus, event: ModelVersionEvent, gates: Sequence[Gate]) -> bool:
    """Put an event on the bus. When this returns, Redis has it.

    Args:
        gates: Those that take the event.

    Returns:
        False for a duplicate.

    Raises:
        PlatformError: Redis did not accept the event; nothing was enqueued.
    """
    try:
        new = bus.inbox.accept(event, gates)
    except redis.RedisError as error:
        raise PlatformError(
            f"Redis at {_host(bus)} did not accept the event: {error}.",
            fix="Start Redis or fix CELERY_BROKER_URL, then send it again.",
        ) from error
    if new:
        try:
            publish_dispatch(bus, [event.id])
        except PlatformError as error:  # the event is in the inbox, so the sweeper sends the task
            log.warning("an event waits for the sweeper", version=str(event.ref), why=str(error))
    return new


def publish_dispatch(bus: Bus, event_ids: Sequence[str]) -> None:
    """Send the tasks that dispatch accepted events.

    Raises:
        PlatformError: Redis did not accept a task; the sweeper sends it later.
    """
    for start in range(0, len(event_ids), _EVENTS_PER_TASK):
        _send(bus, DISPATCH_TASK, list(event_ids[start : start + _EVENTS_PER_TASK]))


def publish_weighing(bus: Bus, weighing: WeighingId, *, first: bool = False) -> str:
    """Send the task of an open weighing to the GPU workers.

    Args:
        first: Serve it before new weighings, because its worker died or a person decided.

    Returns:
        The id of the Celery task.

    Raises:
        PlatformError: Redis did not accept it; the sweeper sends it later.
    """
    return _send(bus, WEIGH_TASK, str(weighing), FIRST if first else LATER)


def _send(bus: Bus, task: str, argument: str | list[str], priority: int = FIRST) -> str:
    try:
        return str(bus.app.send_task(task, args=[argument], priority=priority).id)
    except OperationalError as error:
        raise PlatformError(
            f"Redis at {_host(bus)} did not accept a task: {error}.",
            fix="Start Redis or fix CELERY_BROKER_URL; the sweeper then sends it.",
        ) from error


def _host(bus: Bus) -> str:
    # as_uri() omits the password.
    return str(bus.app.connection_for_write().as_uri())
