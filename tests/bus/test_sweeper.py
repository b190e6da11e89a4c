from dataclasses import replace

import pytest
import redis
from celery import Celery

from bus.bus import Bus
from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE, queue_length
from bus.inbox import Inbox
from bus.ledger import Ledger, record_key
from bus.publish import publish_weighing
from bus.sweeper import sweep
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate


def test_a_weighing_whose_task_was_lost_is_sent_again(
    bus: Bus,
    client: redis.Redis,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
) -> None:
    bus = replace(bus, ledger=Ledger(client, lease=0))
    bus.ledger.open(weighing, gate, event)
    assert sweep(bus) == [weighing]
    assert queue_length(client, GPU_QUEUE) == 1


def test_a_lost_task_is_sent_again_while_others_wait(
    bus: Bus,
    client: redis.Redis,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
) -> None:
    bus = replace(bus, ledger=Ledger(client, lease=0))
    other = weighing.model_copy(update={"number": 4})
    for one in (weighing, other):
        bus.ledger.open(one, gate, event)
    publish_weighing(bus, other)
    assert weighing in sweep(bus)


@pytest.fixture
def abandoned(bus: Bus, weighing: WeighingId, gate: Gate, event: ModelVersionEvent) -> Bus:
    """A bus whose only weighing is held by a worker that died."""
    ledger = Ledger(bus.client, lease=0.001)
    ledger.open(weighing, gate, event)
    ledger.claim(weighing, "a worker")
    return replace(bus, ledger=ledger)


def test_a_weighing_whose_worker_died_is_sent_again(abandoned: Bus, weighing: WeighingId) -> None:
    revived: list[WeighingId] = []
    while not revived:
        revived = sweep(abandoned)
    assert revived == [weighing]


def test_a_weighing_whose_worker_died_is_served_before_new_ones(
    app: Celery, client: redis.Redis, abandoned: Bus, weighing: WeighingId
) -> None:
    for number in range(10, 13):
        publish_weighing(abandoned, weighing.model_copy(update={"number": number}))
    while not sweep(abandoned):
        pass
    assert queue_length(client, GPU_QUEUE) == 4
    with app.connection_for_read() as connection:
        served = connection.default_channel.basic_get(GPU_QUEUE, no_ack=True)
    assert str(weighing) in served.headers["argsrepr"]


def test_healthy_events_and_weighings_are_not_sent_again(
    bus: Bus,
    inbox: Inbox,
    ledger: Ledger,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
) -> None:
    inbox.accept(event, [gate])
    ledger.open(weighing, gate, event)
    publish_weighing(bus, weighing)
    assert sweep(bus) == []
    ledger.claim(weighing, "a worker")
    assert sweep(bus) == []


def test_an_overdue_event_is_sent_again_by_one_sweeper(
    bus: Bus, client: redis.Redis, gate: Gate, event: ModelVersionEvent
) -> None:
    Inbox(client, grace=0).accept(event, [gate])
    for _ in range(3):
        assert sweep(bus) == []
    assert queue_length(client, EVENTS_QUEUE) == 1


def test_an_expired_record_leaves_the_list(
    bus: Bus,
    client: redis.Redis,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
) -> None:
    Ledger(client, lease=60).open(weighing, gate, event)
    client.delete(record_key(weighing))  # as its time does
    sweep(replace(bus, ledger=Ledger(client, lease=60, keep_days=-1)))
    assert client.zcard("weighbridge:weighings") == 0
