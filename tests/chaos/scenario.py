"""One run: link versions, inject the planned faults, and wait until each version is decided."""

import time

import click
import redis

from tests.chaos.environment import Environment
from tests.chaos.fault_plan import draw_plan, missing_faults
from tests.chaos.injector import FaultInjector
from tests.chaos.progress import LinkedVersion, Progress

_PROGRAMS = 4
_PROGRESS_TIMEOUT = 180.0  # seconds without any progress after which the run gives up
_POLL_INTERVAL = 0.1  # seconds
_PRINT_INTERVAL = 5.0  # seconds


class Scenario:
    """A run in a running environment.

    Args:
        seed: Seed of the versions and of the faults.
        versions: How many versions to link.

    Attributes:
        injector: Injects the faults that the seed draws.
    """

    def __init__(self, environment: Environment, seed: int, versions: int) -> None:
        self._environment = environment
        self._plan = draw_plan(f"{seed} faults", versions)
        self._progress = Progress(environment)
        self.seed = seed
        self.versions = versions
        self.injector = FaultInjector(environment, self._progress, self._plan, versions)
        self._began = self._printed = time.monotonic()

    @property
    def linked(self) -> list[LinkedVersion]:
        """The versions that were linked."""
        return list(self._progress.linked.values())

    def run(self) -> None:
        """Return when every version has its verdict, or when there was no progress for too long."""
        self._start_linking()
        advances, deadline = self._advances, time.monotonic() + _PROGRESS_TIMEOUT
        while not self._is_finished() and time.monotonic() < deadline:
            self._environment.supervisor.restart_dead()
            self._step()
            self._print()
            if advances != self._advances:
                advances, deadline = self._advances, time.monotonic() + _PROGRESS_TIMEOUT
        self.injector.end_outages()

    def missing_links(self) -> list[str]:
        """Describe versions that were not linked."""
        count = len(self._progress.linked)
        return [] if count == self.versions else [f"only {count} of {self.versions} were linked"]

    def missing_faults(self) -> list[str]:
        """Describe planned faults that did not strike."""
        return missing_faults(self._plan, self.injector.injected)

    @property
    def _advances(self) -> int:
        return self._progress.advances + len(self.injector.injected)

    def _start_linking(self) -> None:
        first = 0
        for number in range(_PROGRAMS):
            count = len(range(number, self.versions, _PROGRAMS))
            arguments = [str(first), str(count), str(self.seed), *self._environment.collections]
            self._environment.programs.start(
                f"link versions {number}", ["-m", "tests.chaos.link_versions", *arguments]
            )
            first += count

    def _step(self) -> None:
        self._progress.update_linked()
        try:
            if self.injector.redis_is_down:
                time.sleep(_POLL_INTERVAL)
            else:
                self._progress.update_weighings()
            self.injector.step()
        except redis.RedisError:
            time.sleep(_POLL_INTERVAL)

    def _is_finished(self) -> bool:
        if self._progress.decided < self.versions or not self.injector.is_done:
            return False
        try:
            waiting = self._environment.inbox.waiting() or self._environment.ledger.unfinished()
        except redis.RedisError:
            return False
        return not waiting

    def _print(self) -> None:
        if time.monotonic() < self._printed + _PRINT_INTERVAL:
            return
        self._printed = time.monotonic()
        click.echo(
            f"{self._printed - self._began:5.0f} s  {len(self._progress.linked)} of {self.versions}"
            f" linked, {self._progress.decided} decided, {self.injector}"
        )
