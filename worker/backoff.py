"""When an attempt that broke off is repeated."""

import random
from datetime import datetime

from bus.backoff import exponential_backoff
from schemas.settings import Settings
from schemas.weighings import WeighingRecord


def next_delay(record: WeighingRecord, settings: Settings, now: datetime) -> float | None:
    """Seconds until the next attempt; None when there is none left.

    The delay doubles with each attempt, and a random half of it is left out: what broke off
    together does not come back together ("equal jitter": aws.amazon.com/blogs/architecture,
    Exponential Backoff And Jitter, 2015).

    Args:
        record: as it was when the attempt began; its attempts are counted from 1.
        settings: the limits on attempts, delay and age.
        now: the weighing's age is counted up to here.
    """
    if record.attempts >= settings.max_attempts:
        return None
    full = exponential_backoff(
        settings.retry_delay, record.attempts - 1, limit=settings.max_retry_delay
    )
    delay = random.uniform(full / 2, full)  # noqa: S311 (no secret)
    age = (now - record.queued_at).total_seconds()
    return delay if age + delay <= settings.max_age else None
