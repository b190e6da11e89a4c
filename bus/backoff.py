"""Exponential backoff."""

_MOST_RETRIES = 60  # more would overflow, and is over any limit


def exponential_backoff(base: float, retries: int, *, limit: float) -> float:
    """The longest delay before the next try; callers wait for a random part of it.

    Args:
        base: Seconds before the first retry; the delay doubles with each retry after that.
        retries: Retries so far.
        limit: The maximum, in seconds.
    """
    return min(base * 2.0 ** min(retries, _MOST_RETRIES), limit)
