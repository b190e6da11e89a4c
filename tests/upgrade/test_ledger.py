"""A ledger that version 0.1.0 wrote is read and carried on."""

import redis

from bus.inbox import Inbox
from bus.ledger import Ledger
from bus.liveness import live_workers
from producers.poll_cursor import PollCursor
from schemas.events import WeighingId
from schemas.gates import Gate
from schemas.weighings import WeighingRecord

_REGISTRY = "wandb32/wandb-registry-RAG Chat Models"
_COLLECTION = f"{_REGISTRY}/Finetuned SmolLM2"
# As an old worker wrote it.
_STALLED_WORKER = (
    '{"name":"gpu-1@one","queues":["gpu"],"pid":1,"started_at":"2026-11-30T20:59:00Z",'
    '"heard_at":"2026-11-30T20:59:10Z","busy_with":[],"deaf":true}'
)


def _weighing(number: int) -> WeighingId:
    return WeighingId.parse(f"climate-rag/{_COLLECTION}:v{number}")


def _record(ledger: Ledger, number: int) -> WeighingRecord:
    record = ledger.get(_weighing(number))
    assert record is not None
    return record


def test_every_state_is_read(old_ledger: Ledger) -> None:
    assert {record.id.number: record.state for record in old_ledger.all()} == {
        0: "promoted",
        1: "rejected",
        2: "promoted",
        10: "queued",
        11: "running",
        12: "queued",
        13: "awaiting approval",
        14: "queued",
        15: "failed",
    }


def test_a_verdict_keeps_its_evidence_and_its_checks(old_ledger: Ledger, old_gate: Gate) -> None:
    verdict = _record(old_ledger, 2).verdict
    assert verdict is not None
    assert verdict.evidence is not None
    assert verdict.gate_digest == old_gate.digest
    assert [check.passed for check in verdict.checks] == [True] * 4
    assert verdict.checks[1].comparison is not None
    assert verdict.seconds.weigh > 0


def test_what_a_running_weighing_reported_is_read(old_ledger: Ledger) -> None:
    running = _record(old_ledger, 11)
    assert running.holder == "gpu-1@one"
    assert running.progress is not None
    assert (running.progress.step, running.progress.done) == ("evaluate", 3)


def test_a_queued_weighing_is_claimed_and_ended(old_ledger: Ledger) -> None:
    token = old_ledger.claim(_weighing(10), "gpu-2@two")
    assert token is not None
    verdict = _record(old_ledger, 0).verdict
    assert verdict is not None
    ended = verdict.model_copy(update={"weighing": _weighing(10), "outcome": "rejected"})
    assert old_ledger.end(ended, token)
    assert _record(old_ledger, 10).state == "rejected"


def test_a_weighing_whose_lease_expired_is_queued_again(old_ledger: Ledger) -> None:
    assert _weighing(11) in old_ledger.due()
    assert old_ledger.requeue(_weighing(11), tasks_missing=False)
    assert _record(old_ledger, 11).state == "queued"


def test_a_delayed_weighing_keeps_its_delay(old_ledger: Ledger) -> None:
    delayed = _record(old_ledger, 12)
    assert delayed.reason == "W&B did not answer"
    assert delayed.next_try_at is not None
    assert _weighing(12) not in old_ledger.due()


def test_a_decision_is_read_with_the_verdict_that_it_is_about(old_ledger: Ledger) -> None:
    decided = _record(old_ledger, 14)
    assert decided.decision is not None
    assert decided.verdict is not None
    assert (decided.decision.by, decided.verdict.outcome) == ("ada", "awaiting approval")


def test_a_failed_weighing_can_be_retried(old_ledger: Ledger) -> None:
    assert old_ledger.retry(_weighing(15))
    assert _record(old_ledger, 15).state == "queued"


def test_an_accepted_event_waits_for_its_dispatch(old_client: redis.Redis, old_gate: Gate) -> None:
    inbox = Inbox(old_client, 60.0)
    [event_id] = inbox.overdue()
    event = inbox.read(event_id)
    assert event is not None
    assert (event.ref.number, event.author) == (16, "ada")
    assert not inbox.accept(event, [old_gate])


def test_the_poller_goes_on_from_where_it_was(old_client: redis.Redis) -> None:
    cursor = PollCursor(old_client, 3600.0)
    assert cursor.first_seen("climate-rag", _REGISTRY).isoformat().startswith("2026-11-30T20:59:27")
    assert cursor.backfilled("climate-rag", _REGISTRY) == "latest"
    assert cursor.since(_REGISTRY) is not None


def test_workers_of_both_versions_read_each_others_record(old_client: redis.Redis) -> None:
    old_client.set("weighbridge:worker:gpu-1@one", _STALLED_WORKER)
    [worker] = live_workers(old_client)
    assert worker.stalled
    assert worker.model_dump_json() == _STALLED_WORKER
