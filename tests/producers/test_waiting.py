"""Waiting for weighings, on a real ledger that changes between two reads."""

from collections.abc import Callable

import pytest
import redis

from bus.ledger import Ledger
from producers.waiting import NotEndedError, wait_for
from schemas.errors import PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.settings import Settings
from schemas.verdicts import Outcome, Verdict
from schemas.weighings import WeighingRecord

Weigh = Callable[[ModelVersionEvent, Outcome], None]


@pytest.fixture(autouse=True)
def polls_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.waiting._POLL_INTERVAL", 0.01)


@pytest.fixture
def weigh(ledger: Ledger, weighing: WeighingId, gate: Gate) -> Weigh:
    """Handles an event as the workers do, from dispatch to verdict."""

    def do(event: ModelVersionEvent, outcome: Outcome) -> None:
        assert ledger.open(weighing, gate, event)
        token = ledger.claim(weighing, "a worker")
        assert token is not None
        assert ledger.end(_verdict(weighing, outcome), token)

    return do


def _verdict(weighing: WeighingId, outcome: Outcome) -> Verdict:
    return Verdict(weighing=weighing, source="webhook", outcome=outcome, reason="because")


@pytest.fixture
def forced(event: ModelVersionEvent) -> ModelVersionEvent:
    return event.model_copy(update={"source": "manual", "force": True})


class _LaterLedger(Ledger):
    """A ledger that changes between the first read and the second."""

    reads = 0
    happens: Callable[[], object]

    def get(self, weighing: WeighingId) -> WeighingRecord | None:
        self.reads += 1
        if self.reads == 2:
            self.happens()
        return super().get(weighing)


@pytest.fixture
def later(client: redis.Redis, settings: Settings) -> _LaterLedger:
    return _LaterLedger(client, settings.lease)


def test_an_existing_verdict_ends_the_wait(
    ledger: Ledger, weighing: WeighingId, event: ModelVersionEvent, weigh: Weigh
) -> None:
    weigh(event, "rejected")
    told: list[WeighingRecord] = []
    (record,) = wait_for(ledger, {weighing: None}, on_change=told.append)
    assert record.state == "rejected"
    assert told == [record]


def test_with_force_an_old_verdict_does_not_end_the_wait(
    later: _LaterLedger,
    weighing: WeighingId,
    event: ModelVersionEvent,
    forced: ModelVersionEvent,
    weigh: Weigh,
) -> None:
    weigh(event, "rejected")
    later.happens = lambda: weigh(forced, "promoted")
    told: list[WeighingRecord] = []
    (record,) = wait_for(later, {weighing: forced}, on_change=told.append)
    assert (record.state, record.event) == ("promoted", forced)
    assert told == [record]


def test_force_during_a_running_weighing_waits_for_its_verdict(
    later: _LaterLedger,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
    forced: ModelVersionEvent,
) -> None:
    later.open(weighing, gate, event)
    token = later.claim(weighing, "a worker")
    assert token is not None
    later.happens = lambda: later.end(_verdict(weighing, "promoted"), token)
    (record,) = wait_for(later, {weighing: forced})
    assert record.state == "promoted"


@pytest.mark.parametrize("is_forced", [False, True])
def test_without_a_worker_the_wait_fails(
    monkeypatch: pytest.MonkeyPatch,
    ledger: Ledger,
    weighing: WeighingId,
    event: ModelVersionEvent,
    forced: ModelVersionEvent,
    weigh: Weigh,
    is_forced: bool,
) -> None:
    monkeypatch.setattr("producers.waiting._DISPATCH_TIMEOUT", 0.01)
    if is_forced:  # there is only an old verdict
        weigh(event, "rejected")
    with pytest.raises(PlatformError, match=rf"No worker opened {weighing} within 0\.01 s"):
        wait_for(ledger, {weighing: forced if is_forced else None})


def test_a_timeout_names_the_weighings(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    slow = WeighingId.of("slow", event.ref)
    for one in (weighing, slow):
        ledger.open(one, gate, event)
    token = ledger.claim(weighing, "a worker")
    assert token is not None
    ledger.end(_verdict(weighing, "promoted"), token)
    with pytest.raises(NotEndedError, match=rf"^{slow} did not end within 0\.02 s\.") as raised:
        wait_for(ledger, dict.fromkeys([weighing, slow]), timeout=0.02)
    assert isinstance(raised.value, TimeoutError)


def test_an_outage_of_redis_does_not_end_the_wait(
    later: _LaterLedger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent, weigh: Weigh
) -> None:
    def break_off() -> None:
        weigh(event, "promoted")
        raise redis.ConnectionError("it is starting")

    later.happens = break_off
    (record,) = wait_for(later, {weighing: None})
    assert (record.state, later.reads) == ("promoted", 3)


def test_nothing_to_wait_for_is_settled(ledger: Ledger, client: redis.Redis) -> None:
    assert wait_for(ledger, {}) == []
