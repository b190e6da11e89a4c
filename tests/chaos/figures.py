"""What happened, in numbers."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median

from pydantic import BaseModel

from schemas.weighings import AuditLine
from tests.chaos.course import Course
from tests.chaos.faults import Kill
from tests.chaos.stage import Stage
from tests.chaos.verify import LinkedVersion

# What the logs say of an event that was put on the bus, and of an event or a task that came once
# too often: those of the local W&B, of the pollers, of the workers.
_ACCEPTED = ("answered 202", "the poller found a version")
_ABSORBED = ("answered 200", "duplicate event", "weighing not claimed")

_ENDS = ("promoted", "rejected", "failed")


class Spread(BaseModel):
    """Some durations, in seconds; None where there were none."""

    worst: float | None
    median: float | None
    count: int

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Spread":
        """Of any number of durations."""
        found = [round(one, 1) for one in seconds]
        return cls(
            worst=max(found, default=None),
            median=round(median(found), 1) if found else None,
            count=len(found),
        )

    def __str__(self) -> str:
        return f"worst {self.worst} s, median {self.median} s of {self.count}"


class Figures(BaseModel):
    """What a run prints last.

    Attributes:
        faults: how many of each kind.
        accepted: events by webhook or poller, as their senders know.
        absorbed: events and tasks that came once too often.
        retries: attempts that broke off and were repeated.
        verdict: from link to verdict.
        takeover: from a GPU worker's death to the next claim of what it weighed. There is no bound
            while the other worker may be dead or busy, too: test_takeover.py has it.
    """

    versions: int
    faults: dict[str, int]
    accepted: int
    absorbed: int
    retries: int
    verdict: Spread
    takeover: Spread
    seed: int

    @classmethod
    def of(cls, stage: Stage, course: Course) -> "Figures":
        """Of a run that is over, while its Redis is still there."""
        lines = stage.ledger.audit()
        return cls(
            versions=len(course.linked),
            faults=dict(course.faults.counts),
            accepted=_said(stage.folder, _ACCEPTED),
            absorbed=_said(stage.folder, _ABSORBED),
            retries=_retries(lines),
            verdict=Spread.of(_verdict_times(lines, course.linked)),
            takeover=Spread.of(_takeover_times(lines, course.faults.kills)),
            seed=course.seed,
        )

    def __str__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self)


def _verdict_times(lines: Sequence[AuditLine], linked: Sequence[LinkedVersion]) -> Iterable[float]:
    ended = {line.id: line.at.timestamp() for line in lines if line.state in _ENDS}
    for one in linked:
        if str(one.weighing) in ended:
            yield ended[str(one.weighing)] - one.linked_at


def _takeover_times(lines: Sequence[AuditLine], kills: Sequence[Kill]) -> Iterable[float]:
    for kill in kills:
        latest = {line.id: line for line in lines if line.at.timestamp() <= kill.at}
        for line in latest.values():
            if line.state == "running" and f"-{kill.pid}@" in line.note:
                yield from islice(_claims(lines, line.id, kill.at), 1)


def _claims(lines: Sequence[AuditLine], weighing: str, after: float) -> Iterable[float]:
    for line in lines:
        seconds = line.at.timestamp() - after
        if (line.id, line.state) == (weighing, "running") and seconds > 0:
            yield seconds


def _retries(lines: Sequence[AuditLine]) -> int:
    return sum(line.state == "queued" and line.note != "opened" for line in lines)


def _said(folder: Path, words: Iterable[str]) -> int:
    logs = [folder / "wandb" / "server.log", *(folder / "processes").iterdir()]
    texts = [log.read_text(errors="replace") for log in logs]
    return sum(text.count(word) for text in texts for word in words)
