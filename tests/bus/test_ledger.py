from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from bus.ledger import Ledger
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.verdicts import Outcome, Verdict
from schemas.weighings import Progress

_EXPIRED = 0.001  # seconds: a lease that is over before the next command


@pytest.fixture
def opened(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> WeighingId:
    assert ledger.open(weighing, gate, event)
    return weighing


def _verdict(weighing: WeighingId, outcome: Outcome = "rejected") -> Verdict:
    return Verdict(weighing=weighing, source="manual", outcome=outcome, reason="because")


def _token(ledger: Ledger, weighing: WeighingId) -> str:
    token = ledger.claim(weighing)
    assert token is not None
    return token


def test_the_same_version_by_three_roads_is_one_weighing(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    roads = [event.model_copy(update={"source": road}) for road in ("webhook", "poller", "manual")]
    assert [ledger.open(weighing, gate, road) for road in roads] == [True, False, False]
    assert [record.event.source for record in ledger.all()] == ["webhook"]


def test_versions_and_gates_are_told_apart(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    others: list[dict[str, Any]] = [
        {"number": 4},
        {"gate": "other"},
        {"collection": "o/wandb-registry-R/c"},
    ]
    assert ledger.open(weighing, gate, event)
    assert all(ledger.open(weighing.model_copy(update=other), gate, event) for other in others)


def test_of_many_openers_at_once_one_opens(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: ledger.open(weighing, gate, event), range(40)))
    assert opened.count(True) == 1


def test_of_many_workers_at_once_one_claims(ledger: Ledger, opened: WeighingId) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: ledger.claim(opened), range(40)))
    assert sum(token is not None for token in tokens) == 1


def test_what_was_never_opened_cannot_be_claimed(ledger: Ledger, weighing: WeighingId) -> None:
    assert ledger.claim(weighing) is None
    assert ledger.get(weighing) is None


def test_a_record_tells_state_attempts_and_progress(ledger: Ledger, opened: WeighingId) -> None:
    token = _token(ledger, opened)
    progress = Progress(step="evaluate", done=3, total=60)
    assert ledger.beat(opened, token, progress)
    record = ledger.get(opened)
    assert record is not None
    assert (record.state, record.attempts, record.progress) == ("running", 1, progress)


def test_a_verdict_ends_a_weighing(ledger: Ledger, opened: WeighingId) -> None:
    assert ledger.end(_verdict(opened), _token(ledger, opened))
    record = ledger.get(opened)
    assert record is not None
    assert record.ended
    assert record.verdict == _verdict(opened)
    assert ledger.claim(opened) is None
    assert ledger.unfinished() == []


def test_an_ended_weighing_opens_again_only_by_force(
    ledger: Ledger, opened: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    forced = event.model_copy(update={"force": True})
    assert not ledger.open(opened, gate, forced)  # it has not ended yet
    ledger.end(_verdict(opened), _token(ledger, opened))
    assert not ledger.open(opened, gate, event)
    assert ledger.open(opened, gate, forced)
    record = ledger.get(opened)
    assert record is not None
    assert (record.state, record.verdict) == ("queued", None)


def test_a_worker_that_lost_its_lease_changes_nothing(
    client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger = Ledger(client, lease=_EXPIRED)
    ledger.open(weighing, gate, event)
    late = _token(ledger, weighing)
    current = None
    while current is None:
        current = ledger.claim(weighing)
    assert not ledger.beat(weighing, late)
    assert not ledger.end(_verdict(weighing, "promoted"), late)
    assert not ledger.release(weighing, late, 0, "late")
    assert ledger.end(_verdict(weighing), current)


def test_a_lease_that_is_held_is_not_given_away(ledger: Ledger, opened: WeighingId) -> None:
    token = _token(ledger, opened)
    assert ledger.claim(opened) is None
    assert ledger.beat(opened, token)


def test_a_released_weighing_is_revived_once(ledger: Ledger, opened: WeighingId) -> None:
    assert ledger.release(opened, _token(ledger, opened), 0, "the engine died")
    revived = [ledger.revive(opened, queue_empty=False) for _ in range(3)]
    assert revived == [True, False, False]
    assert ledger.claim(opened) is not None


def test_a_released_weighing_waits_for_its_delay(ledger: Ledger, opened: WeighingId) -> None:
    ledger.release(opened, _token(ledger, opened), 3600, "W&B was away")
    assert not ledger.revive(opened, queue_empty=True)


def test_an_expired_lease_is_revived(
    client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger = Ledger(client, lease=_EXPIRED)
    ledger.open(weighing, gate, event)
    ledger.claim(weighing)
    while not ledger.revive(weighing, queue_empty=False):
        pass
    record = ledger.get(weighing)
    assert record is not None
    assert record.state == "queued"


def test_a_queued_weighing_whose_task_is_waiting_is_left_alone(
    client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger = Ledger(client, lease=0)
    ledger.open(weighing, gate, event)
    assert not ledger.revive(weighing, queue_empty=False)
    assert ledger.revive(weighing, queue_empty=True)


def test_every_transition_is_audited(ledger: Ledger, opened: WeighingId) -> None:
    ledger.release(opened, _token(ledger, opened), 0, "the engine died")
    ledger.end(_verdict(opened), _token(ledger, opened))
    states = [(entry["state"], entry["note"]) for entry in ledger.audit()]
    assert [state for state, _ in states] == ["queued", "running", "queued", "running", "rejected"]
    assert states[2][1] == "the engine died"
