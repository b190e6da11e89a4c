"""Moments as they are stored: texts in UTC whose order is the order in time."""

from datetime import UTC, datetime


def timestamp(moment: datetime) -> str:
    """A moment as text, such as `2026-11-20T14:01:15.446567Z`.

    Args:
        moment: without a zone it is taken as UTC.
    """
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> str:
    """The present moment."""
    return timestamp(datetime.now(UTC))
