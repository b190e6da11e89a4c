"""Wait for weighings, wherever they are weighed."""

import time
from collections.abc import Callable, Iterable, Mapping

import redis
import structlog

from bus.ledger import Ledger
from schemas.errors import PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.weighings import WeighingRecord

_DISPATCHED_WITHIN = 60.0  # seconds
_LOOK = 0.5  # seconds between two looks at the ledger

OnChange = Callable[[WeighingRecord], None]
"""Called with a record whenever it has changed."""

log = structlog.get_logger()


class NotEndedError(PlatformError, TimeoutError):
    """Weighings took longer than their caller would wait; they go on."""


def wait_for(
    ledger: Ledger,
    weighings: Mapping[WeighingId, ModelVersionEvent | None],
    *,
    timeout: float | None = None,
    on_change: OnChange | None = None,
) -> list[WeighingRecord]:
    """Wait until every weighing has its verdict, or awaits approval; Redis may come and go.

    Args:
        weighings: each with the event that forces it open again, if one does: the verdict from
            before is not the answer then.
        timeout: seconds; None waits for as long as it takes.
        on_change: hears of every change.

    Raises:
        NotEndedError: the time is over.
        PlatformError: no worker dispatched an event.
    """
    watch = _Watch(ledger, weighings, on_change or (lambda _record: None))
    deadline = None if timeout is None else time.monotonic() + timeout
    while not watch.look():
        if deadline is not None and time.monotonic() > deadline:
            raise NotEndedError(
                f"{_listed(watch.pending)} did not end within {timeout:g} s.",
                fix="They go on; `weighbridge status` shows them.",
            )
        time.sleep(_LOOK)
    return watch.records


class _Watch:
    """Looks at weighings until each is settled."""

    def __init__(
        self,
        ledger: Ledger,
        weighings: Mapping[WeighingId, ModelVersionEvent | None],
        on_change: OnChange,
    ) -> None:
        self._ledger = ledger
        self._weighings = weighings
        self._on_change = on_change
        self._seen: dict[WeighingId, WeighingRecord] = {}
        self._opened_until = time.monotonic() + _DISPATCHED_WITHIN

    @property
    def pending(self) -> list[WeighingId]:
        """The weighings that are not settled."""
        return [one for one in self._weighings if not self._is_settled(one)]

    @property
    def records(self) -> list[WeighingRecord]:
        """As they were told last."""
        return [self._seen[weighing] for weighing in self._weighings]

    def look(self) -> bool:
        """OnChange what has changed; whether all is settled now."""
        try:
            for weighing in self.pending:
                self._look_at(weighing)
        except redis.RedisError as error:
            log.warning("Redis is away; the weighings are waited for", error=str(error))
            self._opened_until = time.monotonic() + _DISPATCHED_WITHIN
        self._require_opened()
        return not self.pending

    def _look_at(self, weighing: WeighingId) -> None:
        record = self._ledger.get(weighing)
        if record is None or record == self._seen.get(weighing) or self._is_stale(record):
            return
        self._seen[weighing] = record
        self._on_change(record)
        self._opened_until = time.monotonic() + _DISPATCHED_WITHIN

    def _is_stale(self, record: WeighingRecord) -> bool:
        """A verdict from before is not what was forced; one that was still being reached is."""
        forced_by = self._weighings[record.id]
        is_of_another = forced_by is not None and record.event != forced_by
        return record.settled and is_of_another and record.id not in self._seen

    def _is_settled(self, weighing: WeighingId) -> bool:
        return weighing in self._seen and self._seen[weighing].settled

    def _require_opened(self) -> None:
        unopened = [one for one in self._weighings if one not in self._seen]
        if unopened and time.monotonic() > self._opened_until:
            raise PlatformError(
                f"No worker opened {_listed(unopened)} within {_DISPATCHED_WITHIN:g} s.",
                fix="Start a worker that serves the events queue, with the same gate file.",
            )


def _listed(weighings: Iterable[WeighingId]) -> str:
    return ", ".join(map(str, weighings))
