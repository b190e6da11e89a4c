"""Whether what the receiver accepts goes on from there."""

from datetime import UTC, datetime

import redis

from bus.inbox import Inbox
from schemas.errors import PlatformError


def check_ready(inbox: Inbox, patience: float) -> None:
    """See that Redis answers, and that events which were accepted are dispatched.

    Args:
        patience: seconds that an event may wait.

    Raises:
        PlatformError: saying why not.
    """
    try:
        first = inbox.waiting(limit=1)
        event = inbox.read(first[0]) if first else None
    except redis.RedisError as error:
        raise PlatformError(
            f"Redis does not answer: {error}.", fix="Start it or mend CELERY_BROKER_URL."
        ) from error
    waited = (datetime.now(UTC) - event.noticed_at).total_seconds() if event else 0.0
    if waited > patience:
        raise PlatformError(
            f"An event has waited for {waited:.0f} s to be dispatched.",
            fix="See that a worker serves the queue 'events', and that W&B answers it.",
        )
