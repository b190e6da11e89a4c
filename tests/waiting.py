"""Wait for other threads and processes in tests."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], timeout: float) -> float:
    """Wait for a condition; fails after ``timeout`` seconds.

    Returns:
        How many seconds it took.
    """
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + timeout
        time.sleep(0.05)
    return time.monotonic() - began
