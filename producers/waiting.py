"""Wait for the verdicts of weighings."""

import time
from collections.abc import Callable, Iterable, Mapping

import redis
import structlog

from bus.ledger import Ledger
from schemas.errors import PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.weighings import WeighingRecord

_DISPATCH_TIMEOUT = 60.0  # seconds
_POLL_INTERVAL = 0.5  # seconds between two reads of the ledger

OnChange = Callable[[WeighingRecord], None]
"""Called with a record when it has changed."""

log = structlog.get_logger()


class NotEndedError(PlatformError, TimeoutError):
    """Weighings did not end before the timeout; they continue."""


def wait_for(
    ledger: Ledger,
    weighings: Mapping[WeighingId, ModelVersionEvent | None],
    *,
    timeout: float | None = None,
    on_change: OnChange | None = None,
) -> list[WeighingRecord]:
    """Wait until every weighing has its verdict, or awaits approval.

    An outage of Redis does not end the waiting.

    Args:
        ledger: Has the verdicts.
        weighings: Each with the event that forces a new weighing, or None. With such an event, an
            older verdict does not count.
        timeout: Seconds to wait; None waits indefinitely.
        on_change: Called with each record that changes.

    Raises:
        NotEndedError: The timeout has expired.
        PlatformError: No worker dispatched an event.
    """
    watch = _Watch(ledger, weighings, on_change or (lambda _record: None))
    deadline = None if timeout is None else time.monotonic() + timeout
    while not watch.poll():
        if deadline is not None and time.monotonic() > deadline:
            raise NotEndedError(
                f"{_listed(watch.pending)} did not end within {timeout:g} s.",
                fix="They continue; see `weighbridge status`.",
            )
        time.sleep(_POLL_INTERVAL)
    return watch.records


class _Watch:
    """Follows weighings until each is settled."""

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
        self._dispatch_deadline = time.monotonic() + _DISPATCH_TIMEOUT

    @property
    def pending(self) -> list[WeighingId]:
        """The weighings that are not settled."""
        return [one for one in self._weighings if not self._is_settled(one)]

    @property
    def records(self) -> list[WeighingRecord]:
        """The last known records."""
        return [self._seen[weighing] for weighing in self._weighings]

    def poll(self) -> bool:
        """Read the ledger and report changes; returns whether all weighings are settled."""
        try:
            for weighing in self.pending:
                self._read(weighing)
        except redis.RedisError as error:
            log.warning("Redis is unavailable; still waiting", error=str(error))
            self._dispatch_deadline = time.monotonic() + _DISPATCH_TIMEOUT
        self._require_opened()
        return not self.pending

    def _read(self, weighing: WeighingId) -> None:
        record = self._ledger.get(weighing)
        if record is None or record == self._seen.get(weighing) or self._is_stale(record):
            return
        self._seen[weighing] = record
        self._on_change(record)
        self._dispatch_deadline = time.monotonic() + _DISPATCH_TIMEOUT

    def _is_stale(self, record: WeighingRecord) -> bool:
        """Whether a record was settled before the forced event."""
        forced_by = self._weighings[record.id]
        is_older = forced_by is not None and record.event != forced_by
        return record.settled and is_older and record.id not in self._seen

    def _is_settled(self, weighing: WeighingId) -> bool:
        return weighing in self._seen and self._seen[weighing].settled

    def _require_opened(self) -> None:
        unopened = [one for one in self._weighings if one not in self._seen]
        if unopened and time.monotonic() > self._dispatch_deadline:
            raise PlatformError(
                f"No worker opened {_listed(unopened)} within {_DISPATCH_TIMEOUT:g} s.",
                fix="Start a worker that serves the events queue, with the same gate file.",
            )


def _listed(weighings: Iterable[WeighingId]) -> str:
    return ", ".join(map(str, weighings))
