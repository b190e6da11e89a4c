"""The clock of a weighing: says which step runs, and keeps how long each one took."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import structlog

from bus.lease import Lease
from schemas.verdicts import Step, Timings
from schemas.weighings import Progress

_NOTHING: Mapping[str, float] = MappingProxyType({})

log = structlog.get_logger()


def _nobody(_progress: Progress) -> None:
    """Hears nothing."""


class StepClock:
    """Reports each step to the ledger and times it.

    Args:
        lease: of the weighing; every report renews it.
        announce: hears every report, too.

    Attributes:
        seconds: of each step so far.
    """

    def __init__(self, lease: Lease, announce: Callable[[Progress], None] = _nobody) -> None:
        self._lease = lease
        self._announce = announce
        self._step: Step = "download"
        self.seconds = Timings()

    @contextmanager
    def step(self, name: Step) -> Iterator[None]:
        """Run a step: the lease is checked before it, its time is kept after it, also if it fails.

        A step that runs twice took the time of both.

        Raises:
            LeaseLostError: another worker has the weighing; the step does not begin.
        """
        self._step = name
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
            LeaseLostError: another worker may have the weighing.
        """
        self._lease.check()

    def counter(self, total: int) -> Callable[[Mapping[str, float]], None]:
        """A function that reports one more of `total` units done, and what was measured so far."""
        numbers = itertools.count(1)
        return lambda metrics: self.report(done=next(numbers), total=total, metrics=metrics)

    def report(
        self,
        detail: str = "",
        done: int = 0,
        total: int = 0,
        metrics: Mapping[str, float] = _NOTHING,
    ) -> None:
        """Tell how far the running step is.

        Args:
            metrics: what was measured so far.

        Raises:
            LeaseLostError: another worker has the weighing.
        """
        progress = Progress(
            step=self._step, detail=detail, done=done, total=total, metrics=dict(metrics)
        )
        if detail:
            log.info("progress", step=self._step, detail=detail)
        self._lease.report(progress)
        self._announce(progress)
