"""Time as W&B writes it."""

from datetime import UTC, datetime, timedelta

FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def now() -> str:
    """The time in UTC.

    Returns:
        For example `2026-01-31T12:00:00Z`; such texts sort by time.
    """
    return datetime.now(UTC).strftime(FORMAT)


def seconds_ago(seconds: float) -> str:
    """A moment in the past.

    Args:
        seconds: how long ago.

    Returns:
        That time, written as `now` writes it.
    """
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime(FORMAT)
