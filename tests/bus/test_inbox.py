from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from bus.inbox import Inbox
from bus.ledger import Ledger
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.refs import ArtifactRef


@pytest.fixture
def second(gate: Gate) -> Gate:
    return gate.model_copy(update={"name": "second"})


def test_an_accepted_event_waits_until_it_is_dispatched(
    inbox: Inbox, gate: Gate, event: ModelVersionEvent
) -> None:
    assert inbox.accept(event, [gate])
    assert inbox.waiting() == [event.id]
    assert inbox.read(event.id) == event
    inbox.remove(event.id)
    assert inbox.waiting() == []
    assert inbox.read(event.id) is None


def test_an_event_in_the_inbox_is_a_duplicate(
    inbox: Inbox, gate: Gate, event: ModelVersionEvent
) -> None:
    again = event.model_copy(update={"author": "somebody else"})
    assert [inbox.accept(one, [gate]) for one in (event, again)] == [True, False]
    assert inbox.read(event.id) == event


def test_one_of_many_concurrent_deliveries_is_accepted(
    inbox: Inbox, gate: Gate, event: ModelVersionEvent
) -> None:
    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(lambda _: inbox.accept(event, [gate]), range(40)))
    assert accepted.count(True) == 1


def test_an_event_whose_every_weighing_is_known_is_a_duplicate(
    inbox: Inbox, ledger: Ledger, gate: Gate, second: Gate, event: ModelVersionEvent
) -> None:
    ledger.open(WeighingId.of(gate.name, event.ref), gate, event)
    assert not inbox.accept(event, [gate])
    assert inbox.accept(event, [gate, second])


def test_a_forced_event_is_never_a_duplicate(
    inbox: Inbox, ledger: Ledger, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger.open(WeighingId.of(gate.name, event.ref), gate, event)
    assert inbox.accept(event.model_copy(update={"force": True}), [gate])


def test_an_unresolved_alias_is_not_a_duplicate(
    inbox: Inbox, ledger: Ledger, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger.open(WeighingId.of(gate.name, event.ref), gate, event)
    latest = event.ref.model_copy(update={"version": "latest"})
    assert inbox.accept(event.model_copy(update={"ref": latest}), [gate])


@pytest.mark.parametrize(
    "change",
    [
        {"ref": ArtifactRef.parse("wandb32/wandb-registry-RAG Chat Models/Finetuned SmolLM2:v4")},
        {"gate": "climate-rag"},
        {"alias": "candidate"},
        {"artifact_id": "QXJ0aWZhY3Q6MQ=="},
        {"force": True},
    ],
)
def test_different_events_are_not_duplicates(
    inbox: Inbox, gate: Gate, event: ModelVersionEvent, change: dict[str, object]
) -> None:
    assert inbox.accept(event, [gate])
    assert inbox.accept(event.model_copy(update=change), [gate])


def test_source_and_time_do_not_change_an_events_identity(event: ModelVersionEvent) -> None:
    other = ModelVersionEvent(ref=event.ref, source="poller")
    assert other.id == event.id


def test_an_overdue_event_is_returned_to_one_sweeper(
    client: redis.Redis, gate: Gate, event: ModelVersionEvent
) -> None:
    Inbox(client, grace=0).accept(event, [gate])
    sweepers = [Inbox(client, grace=60) for _ in range(3)]
    assert [one.overdue() for one in sweepers] == [[event.id], [], []]


def test_an_event_that_was_just_accepted_is_not_overdue(
    inbox: Inbox, gate: Gate, event: ModelVersionEvent
) -> None:
    inbox.accept(event, [gate])
    assert inbox.overdue() == []
