"""Check whether accepted events are dispatched."""

from datetime import UTC, datetime

import redis

from bus.inbox import Inbox
from schemas.errors import PlatformError


def check_ready(inbox: Inbox, max_wait: float) -> None:
    """Check that Redis answers, and that accepted events are dispatched.

    Args:
        inbox: Has the accepted events.
        max_wait: Seconds that an event may wait.

    Raises:
        PlatformError: Redis does not answer, or an event has waited for too long.
    """
    try:
        first = inbox.waiting(limit=1)
        event = inbox.read(first[0]) if first else None
    except redis.RedisError as error:
        raise PlatformError(
            f"Redis does not answer: {error}.", fix="Start it or fix CELERY_BROKER_URL."
        ) from error
    waited = (datetime.now(UTC) - event.noticed_at).total_seconds() if event else 0.0
    if waited > max_wait:
        raise PlatformError(
            f"An event has waited {waited:.0f} s for dispatch.",
            fix="Make sure that a worker serves the queue 'events', and that it can reach W&B.",
        )
