import pytest
import redis
from celery import Celery

from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE, queue_length
from bus.inbox import Inbox
from bus.ledger import Ledger, record_key
from bus.publish import publish_weighing
from bus.sweeper import sweep
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate


def test_a_weighing_whose_task_was_lost_is_sent_again(
    app: Celery,
    client: redis.Redis,
    inbox: Inbox,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
) -> None:
    ledger = Ledger(client, lease=0)
    ledger.open(weighing, gate, event)
    assert sweep(app, inbox, ledger, 0) == [weighing]
    assert queue_length(client, GPU_QUEUE) == 1


def test_a_weighing_whose_task_was_lost_is_missed_while_others_wait(
    app: Celery,
    client: redis.Redis,
    inbox: Inbox,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
) -> None:
    ledger = Ledger(client, lease=0)
    other = weighing.model_copy(update={"number": 4})
    for one in (weighing, other):
        ledger.open(one, gate, event)
    publish_weighing(app, other)
    assert weighing in sweep(app, inbox, ledger, 1)


@pytest.fixture
def abandoned(
    client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> Ledger:
    """A ledger whose only weighing was in the hands of a worker that died."""
    ledger = Ledger(client, lease=0.001)
    ledger.open(weighing, gate, event)
    ledger.claim(weighing, "a worker")
    return ledger


def test_a_weighing_whose_worker_died_is_sent_again(
    app: Celery, inbox: Inbox, abandoned: Ledger, weighing: WeighingId
) -> None:
    revived: list[WeighingId] = []
    while not revived:
        revived = sweep(app, inbox, abandoned, 0)
    assert revived == [weighing]


def test_a_weighing_whose_worker_died_is_served_before_those_that_nobody_has_begun(
    app: Celery, client: redis.Redis, inbox: Inbox, abandoned: Ledger, weighing: WeighingId
) -> None:
    for number in range(10, 13):
        publish_weighing(app, weighing.model_copy(update={"number": number}))
    while not sweep(app, inbox, abandoned, 3):
        pass
    assert queue_length(client, GPU_QUEUE) == 4
    with app.connection_for_read() as connection:
        served = connection.default_channel.basic_get(GPU_QUEUE, no_ack=True)
    assert str(weighing) in served.headers["argsrepr"]


def test_what_is_in_good_hands_is_left_alone(
    app: Celery,
    inbox: Inbox,
    ledger: Ledger,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
) -> None:
    inbox.accept(event, [gate])
    ledger.open(weighing, gate, event)
    publish_weighing(app, weighing)
    assert sweep(app, inbox, ledger, 1) == []
    ledger.claim(weighing, "a worker")
    assert sweep(app, inbox, ledger, 0) == []


def test_events_that_nobody_dispatched_are_sent_again_by_one_sweeper(
    app: Celery, client: redis.Redis, ledger: Ledger, gate: Gate, event: ModelVersionEvent
) -> None:
    Inbox(client, grace=0).accept(event, [gate])
    inbox = Inbox(client, grace=60)
    for _ in range(3):
        assert sweep(app, inbox, ledger, 0) == []
    assert queue_length(client, EVENTS_QUEUE) == 1


def test_what_is_not_kept_any_longer_leaves_the_list(
    app: Celery,
    client: redis.Redis,
    inbox: Inbox,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
) -> None:
    Ledger(client, lease=60).open(weighing, gate, event)
    client.delete(record_key(weighing))  # as its time does
    sweep(app, inbox, Ledger(client, lease=60, keep_days=-1), 0)
    assert client.zcard("weighbridge:weighings") == 0
