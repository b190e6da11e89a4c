import redis
from celery import Celery

from bus.celery_app import GPU_QUEUE
from bus.ledger import Ledger
from bus.publish import publish_weighing
from bus.sweeper import sweep
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate


def test_a_weighing_whose_task_was_lost_is_sent_again(
    app: Celery, client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger = Ledger(client, lease=0)
    ledger.open(weighing, gate, event)
    assert sweep(app, client, ledger) == [weighing]
    assert client.llen(GPU_QUEUE) == 1


def test_a_weighing_whose_worker_died_is_sent_again(
    app: Celery, client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger = Ledger(client, lease=0.001)
    ledger.open(weighing, gate, event)
    ledger.claim(weighing)
    revived: list[WeighingId] = []
    while not revived:
        revived = sweep(app, client, ledger)
    assert revived == [weighing]


def test_what_is_in_good_hands_is_left_alone(
    app: Celery, client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger = Ledger(client, lease=60)
    ledger.open(weighing, gate, event)
    publish_weighing(app, weighing)
    assert sweep(app, client, ledger) == []
    ledger.claim(weighing)
    assert sweep(app, client, ledger) == []
