"""The summary of a run, in numbers."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median

from pydantic import BaseModel

from schemas.weighings import AuditLine
from tests.chaos.environment import Environment
from tests.chaos.injector import Kill
from tests.chaos.progress import FINAL_STATES, LinkedVersion, claims_by
from tests.chaos.scenario import Scenario

# Messages in the logs of the local W&B, of the pollers and of the workers: an event was accepted;
# an event or a task was a duplicate.
_ACCEPTED = ("answered 202", "the poller found a version")
_ABSORBED = ("answered 200", "duplicate event", "weighing not claimed")

_STALLED = "the attempt has stalled"


class Spread(BaseModel):
    """Worst and median of some durations, in seconds; None when there are none."""

    worst: float | None
    median: float | None
    count: int

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Spread":
        """Summarize any number of durations."""
        rounded = [round(one, 1) for one in seconds]
        return cls(
            worst=max(rounded, default=None),
            median=round(median(rounded), 1) if rounded else None,
            count=len(rounded),
        )

    def __str__(self) -> str:
        return f"worst {self.worst} s, median {self.median} s of {self.count}"


class Summary(BaseModel):
    """What a run prints at its end.

    Attributes:
        faults: Injected faults by kind.
        faults_per_version: Injected faults divided by versions.
        late: Faults that struck when their version was past the drawn point.
        accepted: Events accepted from webhook or poller, as their senders log them.
        absorbed: Duplicate events and tasks.
        retries: Attempts that failed and were repeated.
        stalled: Attempts that made no progress and were ended, with the stacks of their threads.
        verdict: From link to verdict.
        takeover: From a GPU worker's death to the next claim of its weighing. It has no upper bound
            here, because the other worker may be dead or busy; test_takeover.py tests the bound.
    """

    versions: int
    faults: dict[str, int]
    faults_per_version: float
    late: int
    accepted: int
    absorbed: int
    retries: int
    stalled: list[str]
    verdict: Spread
    takeover: Spread
    seed: int

    @classmethod
    def of(cls, environment: Environment, scenario: Scenario) -> "Summary":
        """Summarize a finished run while its Redis still runs."""
        lines, injector = environment.ledger.audit(), scenario.injector
        return cls(
            versions=len(scenario.linked),
            faults=dict(injector.counts),
            faults_per_version=round(len(injector.injected) / scenario.versions, 2),
            late=injector.late,
            accepted=_count_messages(environment.folder, _ACCEPTED),
            absorbed=_count_messages(environment.folder, _ABSORBED),
            retries=_retries(lines),
            stalled=list(_stalled(environment.folder / "processes")),
            verdict=Spread.of(_verdict_times(lines, scenario.linked)),
            takeover=Spread.of(_takeover_times(lines, injector.kills)),
            seed=scenario.seed,
        )

    def __str__(self) -> str:
        numbers = (f"{name}: {value}" for name, value in self if name != "stalled")
        return "\n".join([*self.stalled, *numbers, f"stalled: {len(self.stalled)}"])


def _verdict_times(lines: Sequence[AuditLine], linked: Sequence[LinkedVersion]) -> Iterable[float]:
    decided_at = {line.id: line.at.timestamp() for line in lines if line.state in FINAL_STATES}
    for one in linked:
        if str(one.weighing) in decided_at:
            yield decided_at[str(one.weighing)] - one.linked_at


def _takeover_times(lines: Sequence[AuditLine], kills: Sequence[Kill]) -> Iterable[float]:
    for kill in kills:
        latest = {line.id: line for line in lines if line.at.timestamp() <= kill.at}
        for line in latest.values():
            if claims_by(kill.pid, [line]):
                yield from islice(_claims(lines, line.id, kill.at), 1)


def _claims(lines: Sequence[AuditLine], weighing: str, after: float) -> Iterable[float]:
    for line in lines:
        seconds = line.at.timestamp() - after
        if (line.id, line.state) == (weighing, "running") and seconds > 0:
            yield seconds


def _retries(lines: Sequence[AuditLine]) -> int:
    return sum(line.state == "queued" and line.note != "opened" for line in lines)


def _count_messages(folder: Path, messages: Iterable[str]) -> int:
    logs = [folder / "wandb" / "server.log", *(folder / "processes").iterdir()]
    texts = [log.read_text(errors="replace") for log in logs]
    return sum(text.count(message) for text in texts for message in messages)


def _stalled(logs: Path) -> Iterable[str]:
    for log in logs.iterdir():
        for text in log.read_text(errors="replace").split(_STALLED)[1:]:
            yield text.partition("\ntimestamp=")[0]
