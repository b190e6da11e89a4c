"""The course of a run: versions are linked while faults strike, then calm, until all is weighed."""

import time
from collections.abc import Callable
from typing import TypeVar

import click
import redis

from tests.chaos.faults import Faults
from tests.chaos.stage import Stage
from tests.chaos.verify import LinkedVersion

_PUSHERS = 4
_PATIENCE = 180.0  # seconds in which something must be linked or weighed
_PAUSE_AFTER = 60.0  # seconds; a slow machine may need more between two faults to get anywhere
_LOOK = 0.1  # seconds
_TELL = 5.0  # seconds between two lines of progress

_T = TypeVar("_T")


class Course:
    """What happens on a stage.

    Args:
        faults: strike until all is linked and half of it weighed, and pause while there is no news.
        seed: of the pushers.
        versions: how many they link.

    Attributes:
        linked: versions so far.
    """

    def __init__(self, stage: Stage, faults: Faults, seed: int, versions: int) -> None:
        self._stage = stage
        self.faults = faults
        self.seed = seed
        self.versions = versions
        self.linked: list[LinkedVersion] = []
        self._weighed = 0
        self._began = self._news = self._told = time.monotonic()

    def run(self) -> None:
        """Returns when every version has its verdict, or when nothing happened for too long."""
        self._push()
        while not self._over() and time.monotonic() < self._news + _PATIENCE:
            time.sleep(_LOOK)
            self._stage.supervisor.tend()
            self._look()
            if self._calm:
                self.faults.calm()
            else:
                self.faults.step()
            self._tell()
        self.faults.calm()

    def missing(self) -> list[str]:
        """A sentence, if the pushers linked fewer versions than they were to."""
        count = len(self.linked)
        return [] if count == self.versions else [f"only {count} of {self.versions} were linked"]

    def _push(self) -> None:
        first = 0
        for number in range(_PUSHERS):
            share = len(range(number, self.versions, _PUSHERS))
            arguments = [str(first), str(share), str(self.seed), *self._stage.collections]
            name = f"pusher {number}"
            self._stage.pushers.start(name, ["-m", "tests.chaos.pusher", *arguments])
            first += share

    def _look(self) -> None:
        linked, weighed = self._read_linked(), self._asked(self._count_weighed, self._weighed)
        if (len(linked), weighed) != (len(self.linked), self._weighed):
            self._news = time.monotonic()
        self.linked, self._weighed = linked, weighed

    def _read_linked(self) -> list[LinkedVersion]:
        lines = [
            line
            for log in (self._stage.folder / "logs").glob("pusher-*.log")
            for line in log.read_text().splitlines()
            if line.startswith("{")
        ]
        return [LinkedVersion.model_validate_json(line) for line in lines if line.endswith("}")]

    def _count_weighed(self) -> int:
        return sum(record.settled for record in self._stage.ledger.all())

    @property
    def _calm(self) -> bool:
        enough = len(self.linked) == self.versions and 2 * self._weighed >= self.versions
        return enough or time.monotonic() > self._news + _PAUSE_AFTER

    def _over(self) -> bool:
        return self._weighed == self.versions and self._asked(self._nothing_waits, otherwise=False)

    def _nothing_waits(self) -> bool:
        return not self._stage.inbox.waiting() and not self._stage.ledger.unfinished()

    def _asked(self, question: Callable[[], _T], otherwise: _T) -> _T:
        """What Redis says, if it is there."""
        if self.faults.redis_is_away:
            return otherwise
        try:
            return question()
        except redis.RedisError:
            return otherwise

    def _tell(self) -> None:
        if time.monotonic() < self._told + _TELL:
            return
        self._told = time.monotonic()
        click.echo(
            f"{self._told - self._began:5.0f} s  {len(self.linked)} of {self.versions} linked, "
            f"{self._weighed} weighed  {self.faults}"
        )
