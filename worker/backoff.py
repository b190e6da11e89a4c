"""When a failed attempt is retried."""

import random
from datetime import datetime

from bus.backoff import exponential_backoff
from schemas.settings import Settings
from schemas.weighings import WeighingRecord


def next_delay(record: WeighingRecord, settings: Settings, now: datetime) -> float | None:
    """Seconds until the next attempt; None when there is none left.

    The delay doubles with each attempt, and up to half of it is left out at random, so that
    attempts that failed together are not retried together ("equal jitter":
    aws.amazon.com/blogs/architecture, Exponential Backoff And Jitter, 2015).

    Args:
        record: The record when the attempt began; its attempts are counted from 1.
        settings: The limits on attempts, delay and age.
        now: The time at which the weighing's age is measured.
    """
    if record.attempts >= settings.max_attempts:
        return None
    full = exponential_backoff(
        settings.retry_delay, record.attempts - 1, limit=settings.max_retry_delay
    )
    delay = random.uniform(full / 2, full)  # noqa: S311 (no secret)
    age = (now - record.queued_at).total_seconds()
    return delay if age + delay <= settings.max_age else None
