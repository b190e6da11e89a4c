"""How long to wait before trying again."""

_DOUBLED_AT_MOST = 60  # times; more would overflow, and is over any limit


def doubled(seconds: float, times: int, *, at_most: float) -> float:
    """A pause that was doubled so many times, up to a limit; who waits takes a random part of it.

    Args:
        seconds: before the first doubling.
        at_most: seconds.
    """
    return min(seconds * 2.0 ** min(times, _DOUBLED_AT_MOST), at_most)
