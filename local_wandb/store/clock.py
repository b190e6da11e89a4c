"""Times in W&B's format."""

from datetime import UTC, datetime, timedelta

FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def now() -> str:
    """Return the current time in UTC.

    Returns:
        For example ``2026-01-31T12:00:00Z``; such texts sort by time.
    """
    return datetime.now(UTC).strftime(FORMAT)


def seconds_ago(seconds: float) -> str:
    """Return a past time in the format of ``now``."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime(FORMAT)
