"""Times as they are stored: texts in UTC that sort by time."""

from datetime import UTC, datetime


def timestamp(time: datetime) -> str:
    """Return a time as text, such as ``2026-11-20T14:01:15.446567Z``.

    Args:
        time: The time; without a time zone it is taken as UTC.
    """
    zoned = time if time.tzinfo else time.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> str:
    """Return the current time as text."""
    return timestamp(datetime.now(UTC))
