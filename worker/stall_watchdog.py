"""Ends the process of an attempt that no longer makes progress.

A call of a library may wait forever, and no thread can interrupt another one. The lease is renewed
all the same, so without this no other worker would ever take the weighing over.
"""

import faulthandler
import os
import sys
from types import TracebackType
from typing import Self

import structlog

from bus.heartbeat import Heartbeat
from worker.steps import StepClock

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h

_CHECKS = 20  # per limit

log = structlog.get_logger()


class StallWatchdog:
    """Watches one attempt; a context manager that stops watching when the block ends.

    When it strikes, it logs where every thread is and exits the process. Celery gives the task
    back, the lease expires, and the weighing is tried again, as after any other death of a worker.

    Args:
        clock: The attempt's clock, which every report of progress goes through.
        limit: Seconds without progress after which the process ends.
    """

    def __init__(self, clock: StepClock, limit: float) -> None:
        self._clock = clock
        self._limit = limit
        self._heartbeat = Heartbeat("stall watchdog", limit / _CHECKS, self._check)

    def __enter__(self) -> Self:
        self._heartbeat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._heartbeat.stop()

    def _check(self) -> None:
        if self._clock.seconds_since_report < self._limit:
            return
        log.error(
            "the attempt has stalled: this process ends, and the weighing is tried again",
            step=self._clock.current,
            without_progress=f"{self._limit:g} s",
            setting="WEIGHBRIDGE_STALL_TIMEOUT",
        )
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        os._exit(EXIT_CODE)
