"""A thread that calls a function at a fixed interval."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

BEATS_PER_LEASE = 4  # so that three may fail before a lease expires


class Heartbeat:
    """Calls a function every ``interval`` seconds from a thread.

    As a context manager, it stops when the block ends.

    Args:
        name: The thread's name.
        interval: Seconds between two calls.
        beat: The function; it must not raise.
        at_once: Whether to make the first call immediately instead of after one interval.
    """

    def __init__(
        self, name: str, interval: float, beat: Callable[[], None], *, at_once: bool = False
    ) -> None:
        self._interval = interval
        self._beat = beat
        self._at_once = at_once
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """Stop calling, and wait for a call that is running.

        Args:
            timeout: Seconds to wait; None waits until the call returns.
        """
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        if self._at_once:
            self._beat()
        while not self._stopped.wait(self._interval):
            self._beat()
