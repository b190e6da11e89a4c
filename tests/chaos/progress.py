"""What a run has reached so far, read from the linking programs' output and from the ledger."""

from collections.abc import Sequence
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from schemas.events import WeighingId
from schemas.refs import ArtifactRef
from schemas.verdicts import Outcome
from schemas.weighings import AuditLine
from tests.chaos.dataset import GATE, THRESHOLD
from tests.chaos.environment import Environment
from tests.chaos.fault_plan import POINTS, Point

FINAL_STATES = ("promoted", "rejected", "failed")

_POLL_INTERVAL = 0.1  # seconds
_POINT_OF_STATE: dict[str, Point] = {
    "queued": "opened",
    "running": "claimed",
    **dict.fromkeys(FINAL_STATES, "decided"),
}


class LinkedVersion(BaseModel):
    """A version that was linked to the Registry.

    Attributes:
        version: Its name in the Registry.
        known: For each question of the evaluation, whether the version knows the answer.
        linked_at: Seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    serial: int
    version: str
    known: tuple[bool, ...]
    linked_at: float

    @cached_property
    def weighing(self) -> WeighingId:
        """The weighing of this version."""
        return WeighingId.of(GATE, ArtifactRef.parse(self.version))

    @property
    def score(self) -> float:
        """The score that its evaluation must find."""
        return sum(self.known) / len(self.known)

    @property
    def outcome(self) -> Outcome:
        """The outcome that its verdict must have."""
        return "promoted" if self.score >= THRESHOLD else "rejected"


class Progress:
    """How far every version is.

    Attributes:
        linked: Versions so far, by serial.
        lines: Audit lines of weighings so far, oldest first.
        advances: Grows whenever anything moves.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._reached: dict[str, int] = {}
        self._states: dict[str, str] = {}
        self._cursor = "0"
        self.linked: dict[int, LinkedVersion] = {}
        self.lines: list[AuditLine] = []
        self.advances = 0

    @property
    def decided(self) -> int:
        """How many weighings have a verdict."""
        return sum(state in FINAL_STATES for state in self._states.values())

    def has_reached(self, serial: int, point: Point) -> bool:
        """Whether a version has been at a point, or at a later one."""
        one = self.linked.get(serial)
        return one is not None and self._position(one) >= POINTS.index(point)

    def point_of(self, serial: int) -> Point:
        """The furthest point that a linked version has been at."""
        return POINTS[self._position(self.linked[serial])]

    def running_claim(self, serial: int) -> AuditLine | None:
        """The claim of a version's weighing that runs now."""
        weighing = str(self.linked[serial].weighing)
        line = next((line for line in reversed(self.lines) if line.id == weighing), None)
        return line if line and line.state == "running" else None

    def update_linked(self) -> None:
        """Read which versions were linked."""
        before = len(self.linked)
        for log in (self._environment.folder / "logs").glob("link-versions-*.log"):
            for text in log.read_text().splitlines():
                if text.startswith("{") and text.endswith("}"):
                    one = LinkedVersion.model_validate_json(text)
                    self.linked.setdefault(one.serial, one)
        self.advances += len(self.linked) - before

    def update_weighings(self) -> None:
        """Read what the ledger has written since the last call, or wait briefly for it.

        Raises:
            redis.RedisError: Redis does not respond.
        """
        for line in self._environment.ledger.follow(self._cursor, block=_POLL_INTERVAL):
            self._cursor = line.stream_id
            self.lines.append(line)
            self._states[line.id] = line.state
            self._advance(line.id, _POINT_OF_STATE.get(line.state, "opened"))
            self.advances += 1
        for weighing in [one for one, state in self._states.items() if state == "running"]:
            record = self._environment.ledger.get(WeighingId.parse(weighing))
            if record and record.progress:
                self._advance(weighing, record.progress.step)

    def _position(self, one: LinkedVersion) -> int:
        return self._reached.get(str(one.weighing), 0)

    def _advance(self, weighing: str, point: Point) -> None:
        before, now = self._reached.get(weighing, 0), POINTS.index(point)
        if now > before:
            self._reached[weighing] = now
            self.advances += 1


def claims_by(pid: int, lines: Sequence[AuditLine]) -> list[AuditLine]:
    """The claims among audit lines that a worker made, by the process id in its name."""
    return [line for line in lines if line.state == "running" and f"-{pid}@" in line.note]
