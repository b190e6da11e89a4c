from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from bus.ledger import Ledger, record_key
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.verdicts import Decision, Outcome, Verdict
from schemas.weighings import Progress, WeighingRecord

_EXPIRED = 0.001  # seconds: a lease that is over before the next command


@pytest.fixture
def opened(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> WeighingId:
    assert ledger.open(weighing, gate, event)
    return weighing


def _verdict(weighing: WeighingId, outcome: Outcome = "rejected") -> Verdict:
    return Verdict(weighing=weighing, source="manual", outcome=outcome, reason="because")


def _decision(*, approved: bool = True, why: str = "") -> Decision:
    return Decision(approved=approved, by="ada", why=why, at=datetime(2026, 1, 31, tzinfo=UTC))


def _record(ledger: Ledger, weighing: WeighingId) -> WeighingRecord:
    record = ledger.get(weighing)
    assert record is not None
    return record


@pytest.fixture
def waiting(ledger: Ledger, opened: WeighingId) -> WeighingId:
    """A weighing that awaits approval."""
    assert ledger.end(_verdict(opened, "awaiting approval"), _token(ledger, opened))
    return opened


def _token(ledger: Ledger, weighing: WeighingId) -> str:
    token = ledger.claim(weighing, "a worker")
    assert token is not None
    return token


def test_one_version_from_three_sources_is_one_weighing(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    roads = [event.model_copy(update={"source": road}) for road in ("webhook", "poller", "manual")]
    assert [ledger.open(weighing, gate, road) for road in roads] == [True, False, False]
    assert [record.event.source for record in ledger.all()] == ["webhook"]


def test_each_version_and_gate_has_its_own_weighing(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    others: list[dict[str, Any]] = [
        {"number": 4},
        {"gate": "other"},
        {"collection": "o/wandb-registry-R/c"},
    ]
    assert ledger.open(weighing, gate, event)
    assert all(ledger.open(weighing.model_copy(update=other), gate, event) for other in others)


def test_one_of_many_concurrent_calls_opens_a_weighing(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: ledger.open(weighing, gate, event), range(40)))
    assert opened.count(True) == 1


def test_one_of_many_concurrent_workers_claims_a_weighing(
    ledger: Ledger, opened: WeighingId
) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: ledger.claim(opened, "a worker"), range(40)))
    assert sum(token is not None for token in tokens) == 1


def test_an_unopened_weighing_cannot_be_claimed(ledger: Ledger, weighing: WeighingId) -> None:
    assert ledger.claim(weighing, "a worker") is None
    assert ledger.get(weighing) is None


def test_a_record_has_state_attempts_and_progress(ledger: Ledger, opened: WeighingId) -> None:
    token = _token(ledger, opened)
    progress = Progress(step="evaluate", done=3, total=60)
    assert ledger.renew(opened, token, progress)
    record = ledger.get(opened)
    assert record is not None
    assert (record.state, record.attempts, record.progress) == ("running", 1, progress)


def test_a_verdict_ends_a_weighing(ledger: Ledger, opened: WeighingId) -> None:
    assert ledger.end(_verdict(opened), _token(ledger, opened))
    record = ledger.get(opened)
    assert record is not None
    assert record.ended
    assert record.verdict == _verdict(opened)
    assert ledger.claim(opened, "a worker") is None
    assert ledger.unfinished() == []


def test_only_force_reopens_an_ended_weighing(
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
        current = ledger.claim(weighing, "a worker")
    assert not ledger.renew(weighing, late)
    assert not ledger.end(_verdict(weighing, "promoted"), late)
    assert not ledger.release(weighing, late, 0, "late")
    assert ledger.end(_verdict(weighing), current)


def test_a_held_lease_cannot_be_claimed(ledger: Ledger, opened: WeighingId) -> None:
    token = _token(ledger, opened)
    assert ledger.claim(opened, "a worker") is None
    assert ledger.renew(opened, token)


def test_a_released_weighing_is_requeued_once(ledger: Ledger, opened: WeighingId) -> None:
    assert ledger.release(opened, _token(ledger, opened), 0, "the engine died")
    revived = [ledger.requeue(opened, tasks_missing=False) for _ in range(3)]
    assert revived == [True, False, False]
    assert ledger.claim(opened, "a worker") is not None


def test_a_released_weighing_waits_for_its_delay(ledger: Ledger, opened: WeighingId) -> None:
    ledger.release(opened, _token(ledger, opened), 3600, "W&B was away")
    assert not ledger.requeue(opened, tasks_missing=True)


def test_a_weighing_with_an_expired_lease_is_requeued(
    client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger = Ledger(client, lease=_EXPIRED)
    ledger.open(weighing, gate, event)
    ledger.claim(weighing, "a worker")
    while not ledger.requeue(weighing, tasks_missing=False):
        pass
    record = ledger.get(weighing)
    assert record is not None
    assert record.state == "queued"


def test_a_queued_weighing_with_a_waiting_task_is_not_requeued(
    client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger = Ledger(client, lease=0)
    ledger.open(weighing, gate, event)
    assert not ledger.requeue(weighing, tasks_missing=False)
    assert ledger.requeue(weighing, tasks_missing=True)


def test_every_transition_is_audited(ledger: Ledger, opened: WeighingId) -> None:
    ledger.release(opened, _token(ledger, opened), 0, "the engine died")
    ledger.end(_verdict(opened), _token(ledger, opened))
    states = [(entry.state, entry.note) for entry in ledger.audit()]
    assert [state for state, _ in states] == ["queued", "running", "queued", "running", "rejected"]
    assert states[2][1] == "the engine died"


def test_a_verdict_that_awaits_approval_does_not_end_the_weighing(
    ledger: Ledger, waiting: WeighingId
) -> None:
    record = _record(ledger, waiting)
    assert record.state == "awaiting approval"
    assert record.verdict == _verdict(waiting, "awaiting approval")
    assert not record.ended
    assert record.settled


def test_a_weighing_that_awaits_approval_is_neither_claimed_nor_requeued(
    ledger: Ledger, waiting: WeighingId
) -> None:
    assert ledger.claim(waiting, "a worker") is None
    assert ledger.unfinished() == []
    assert not ledger.requeue(waiting, tasks_missing=True)


def test_only_force_reopens_a_weighing_that_awaits_approval(
    ledger: Ledger, waiting: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    before = _record(ledger, waiting)
    assert not ledger.open(waiting, gate, event)
    assert _record(ledger, waiting) == before
    assert ledger.open(waiting, gate, event.model_copy(update={"force": True}))
    record = _record(ledger, waiting)
    assert (record.state, record.verdict) == ("queued", None)


def test_a_worker_that_lost_its_lease_cannot_request_approval(
    ledger: Ledger, opened: WeighingId
) -> None:
    _token(ledger, opened)
    assert not ledger.end(_verdict(opened, "awaiting approval"), "0")
    assert _record(ledger, opened).state == "running"


def test_a_decision_queues_the_weighing_and_keeps_its_record(
    ledger: Ledger, waiting: WeighingId
) -> None:
    assert ledger.decide(waiting, _decision())
    record = _record(ledger, waiting)
    assert (record.state, record.attempts, record.decision) == ("queued", 0, _decision())
    assert record.verdict == _verdict(waiting, "awaiting approval")


def test_the_sweeper_finds_a_decision_without_a_task_at_once(
    ledger: Ledger, waiting: WeighingId
) -> None:
    ledger.decide(waiting, _decision())
    assert ledger.requeue(waiting, tasks_missing=True)


def test_one_of_many_concurrent_decisions_counts(ledger: Ledger, waiting: WeighingId) -> None:
    with ThreadPoolExecutor(8) as pool:
        decided = list(pool.map(lambda _: ledger.decide(waiting, _decision()), range(40)))
    assert decided.count(True) == 1


def test_only_a_weighing_that_awaits_approval_can_be_decided(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    assert not ledger.decide(weighing, _decision())
    assert ledger.get(weighing) is None
    ledger.open(weighing, gate, event)
    assert not ledger.decide(weighing, _decision())
    token = _token(ledger, weighing)
    assert not ledger.decide(weighing, _decision())
    ledger.end(_verdict(weighing), token)
    assert not ledger.decide(weighing, _decision())
    record = _record(ledger, weighing)
    assert (record.state, record.decision) == ("rejected", None)


def test_a_failed_attempt_to_apply_a_decision_keeps_it(ledger: Ledger, waiting: WeighingId) -> None:
    ledger.decide(waiting, _decision())
    assert ledger.release(waiting, _token(ledger, waiting), 0, "W&B was away")
    assert ledger.requeue(waiting, tasks_missing=False)
    _token(ledger, waiting)
    record = _record(ledger, waiting)
    assert (record.state, record.attempts, record.decision) == ("running", 2, _decision())
    assert record.verdict == _verdict(waiting, "awaiting approval")


def test_a_decision_survives_the_worker_that_applies_it(
    client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger = Ledger(client, lease=60)
    ledger.open(weighing, gate, event)
    ledger.end(_verdict(weighing, "awaiting approval"), _token(ledger, weighing))
    ledger.decide(weighing, _decision())
    Ledger(client, lease=_EXPIRED).claim(weighing, "a worker")
    while not ledger.requeue(weighing, tasks_missing=False):
        pass
    assert _record(ledger, weighing).decision == _decision()


def test_the_final_verdict_keeps_the_decision(ledger: Ledger, waiting: WeighingId) -> None:
    ledger.decide(waiting, _decision(approved=False, why="it is rude"))
    assert ledger.end(_verdict(waiting), _token(ledger, waiting))
    record = _record(ledger, waiting)
    assert record.ended
    assert record.verdict == _verdict(waiting)
    assert record.decision == _decision(approved=False, why="it is rude")


@pytest.mark.parametrize(
    ("decision", "note"),
    [
        (_decision(), "approved by ada"),
        (_decision(approved=False, why="it is rude"), "rejected by ada: it is rude"),
    ],
)
def test_the_audit_names_the_person_and_the_reason(
    ledger: Ledger, waiting: WeighingId, decision: Decision, note: str
) -> None:
    ledger.decide(waiting, decision)
    suspended, decided = ledger.audit()[-2:]
    assert suspended.state == "awaiting approval"
    assert (decided.id, decided.state, decided.note) == (str(waiting), "queued", note)


def test_the_audit_has_notes_and_transitions(ledger: Ledger, opened: WeighingId) -> None:
    ledger.note("climate-rag", "rolled back", "by ada")
    line = ledger.audit()[-1]
    assert (line.id, line.state, line.note) == ("climate-rag", "rolled back", "by ada")


def test_the_audit_can_be_followed_from_any_line(ledger: Ledger, opened: WeighingId) -> None:
    first = ledger.audit()[0]
    assert ledger.follow(first.stream_id, block=0.01) == []
    _token(ledger, opened)
    (line,) = ledger.follow(first.stream_id, block=0.01)
    assert (line.id, line.state) == (str(opened), "running")
    assert first.at <= line.at


def test_a_running_weighing_names_its_holder_and_its_lease(
    ledger: Ledger, opened: WeighingId
) -> None:
    assert ledger.claim(opened, "gpu-7@host") is not None
    record = _record(ledger, opened)
    assert record.holder == "gpu-7@host"
    assert record.started_at is not None
    assert record.lease_until is not None
    assert 59 < (record.lease_until - record.started_at).total_seconds() <= 60


def test_a_failed_attempt_leaves_its_reason_and_the_time_of_the_next(
    ledger: Ledger, opened: WeighingId
) -> None:
    ledger.release(opened, _token(ledger, opened), 3600, "W&B was away")
    record = _record(ledger, opened)
    assert (record.reason, record.holder, record.lease_until) == ("W&B was away", "", None)
    assert record.next_try_at is not None
    assert (record.next_try_at - record.opened_at).total_seconds() > 3599


@pytest.fixture
def failed(ledger: Ledger, opened: WeighingId) -> WeighingId:
    assert ledger.end(_verdict(opened, "failed"), _token(ledger, opened))
    return opened


def test_a_failed_weighing_keeps_its_reason(ledger: Ledger, failed: WeighingId) -> None:
    record = _record(ledger, failed)
    assert (record.state, record.reason) == ("failed", "because")
    assert record.ended_at is not None


def test_a_failed_weighing_can_be_retried_with_its_attempts_reset(
    ledger: Ledger, failed: WeighingId
) -> None:
    assert ledger.retry(failed)
    record = _record(ledger, failed)
    assert (record.state, record.attempts, record.verdict) == ("queued", 0, None)
    assert (record.reason, record.ended_at) == ("", None)
    assert ledger.requeue(failed, tasks_missing=True)  # at once, should its task get lost
    assert ledger.claim(failed, "a worker") is not None


def test_only_a_failed_weighing_can_be_retried(ledger: Ledger, opened: WeighingId) -> None:
    assert not ledger.retry(opened)
    token = _token(ledger, opened)
    assert not ledger.retry(opened)
    ledger.end(_verdict(opened), token)
    assert not ledger.retry(opened)
    assert _record(ledger, opened).state == "rejected"


def test_a_decision_that_failed_to_apply_is_retried_as_a_decision(
    ledger: Ledger, waiting: WeighingId
) -> None:
    ledger.decide(waiting, _decision())
    ledger.end(_verdict(waiting, "failed"), _token(ledger, waiting))
    assert ledger.retry(waiting)
    record = _record(ledger, waiting)
    assert record.decision == _decision()
    assert record.verdict == _verdict(waiting, "failed")


def test_unknown_returns_the_weighings_that_were_never_opened(
    ledger: Ledger, opened: WeighingId
) -> None:
    others = [opened.model_copy(update={"number": number}) for number in (7, 8)]
    assert ledger.unknown([others[0], opened, others[1]]) == others
    assert ledger.unknown([]) == []


def test_weighings_that_should_have_a_task_are_counted(
    ledger: Ledger, opened: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    for number in (7, 8):
        ledger.open(opened.model_copy(update={"number": number}), gate, event)
    assert ledger.count_queued() == 3
    token = _token(ledger, opened)
    assert ledger.count_queued() == 2
    ledger.release(opened, token, 3600, "W&B was away")
    assert ledger.count_queued() == 2


def test_an_ended_weighing_expires_after_keep_days(
    client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    a_moment = 0.001 / 86400  # days
    ledger = Ledger(client, lease=60, keep_days=a_moment)
    ledger.open(weighing, gate, event)
    assert client.ttl(record_key(weighing)) == -1  # not before it has ended
    ledger.end(_verdict(weighing), _token(ledger, weighing))
    assert client.ttl(record_key(weighing)) != -1  # else the wait would not end
    while ledger.get(weighing):
        pass
    ledger.prune()
    assert client.zcard("weighbridge:weighings") == 0


def test_a_reopened_or_retried_weighing_does_not_expire(
    ledger: Ledger, client: redis.Redis, failed: WeighingId
) -> None:
    assert client.ttl(record_key(failed)) > 0
    ledger.retry(failed)
    assert client.ttl(record_key(failed)) == -1


def test_pruning_keeps_unfinished_weighings(ledger: Ledger, opened: WeighingId) -> None:
    Ledger(ledger._redis, lease=60, keep_days=0).prune()
    assert [one.id for one in ledger.all()] == [opened]
