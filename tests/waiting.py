"""Waiting for what another thread or process brings about."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], patience: float) -> float:
    """Wait for a condition; fails when it does not come true within so many seconds.

    Returns:
        How many seconds it took.
    """
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + patience
        time.sleep(0.05)
    return time.monotonic() - began
