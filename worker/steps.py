"""The clock of a weighing: reports which step runs, and times each one."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import structlog

from bus.lease import Lease
from schemas.verdicts import Step, Timings
from schemas.weighings import Progress

_NO_METRICS: Mapping[str, float] = MappingProxyType({})

log = structlog.get_logger()


def _ignore(_progress: Progress) -> None:
    """Receives progress reports that nothing needs."""


class StepClock:
    """Reports each step to the ledger and times it.

    Args:
        lease: The weighing's lease; every report renews it.
        on_progress: Also receives every report.

    Attributes:
        current: The step that runs, or that ran last.
        seconds: Seconds of each step so far.
    """

    def __init__(self, lease: Lease, on_progress: Callable[[Progress], None] = _ignore) -> None:
        self._lease = lease
        self._on_progress = on_progress
        self._reported_at = time.monotonic()
        self.current: Step = "download"
        self.seconds = Timings()

    @property
    def seconds_since_report(self) -> float:
        """Seconds since the attempt last reported progress."""
        return time.monotonic() - self._reported_at

    @contextmanager
    def step(self, name: Step) -> Iterator[None]:
        """Check the lease, run a step and record its time, also if it fails.

        The times of a step that runs twice are added.

        Raises:
            LeaseLostError: Another worker has the weighing; the step does not begin.
        """
        self.current = name
        self.report()
        log.info("step begins", step=name)
        start = time.monotonic()
        try:
            yield
        finally:
            elapsed = time.monotonic() - start
            total = round(getattr(self.seconds, name) + elapsed, 3)
            self.seconds = self.seconds.model_copy(update={name: total})
            log.info("step ended", step=name, seconds=round(elapsed, 3))

    def check(self) -> None:
        """Call before every side effect.

        Raises:
            LeaseLostError: Another worker may have the weighing.
        """
        self._lease.check()

    def counter(self, total: int) -> Callable[[Mapping[str, float]], None]:
        """A function that reports one more of ``total`` units done, with the metrics so far."""
        done = itertools.count(1)
        return lambda metrics: self.report(done=next(done), total=total, metrics=metrics)

    def report(
        self,
        detail: str = "",
        done: int = 0,
        total: int = 0,
        metrics: Mapping[str, float] = _NO_METRICS,
    ) -> None:
        """Report the progress of the running step.

        Args:
            metrics: The metrics so far, as running means.

        Raises:
            LeaseLostError: Another worker has the weighing.
        """
        self._reported_at = time.monotonic()
        progress = Progress(
            step=self.current, detail=detail, done=done, total=total, metrics=dict(metrics)
        )
        if detail:
            log.info("progress", step=self.current, detail=detail)
        self._lease.report(progress)
        self._on_progress(progress)
