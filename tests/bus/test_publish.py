import json
from pathlib import Path

import pytest
import redis
from celery import Celery

from bus.bus import Bus
from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE, queue_keys
from bus.inbox import Inbox
from bus.publish import publish, publish_weighing
from rehearsal.redis_server import RedisServer, free_port
from schemas.errors import PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.settings import Settings


def _headers(client: redis.Redis, queue: str) -> list[dict[str, str]]:
    messages = [text for key in queue_keys(queue) for text in client.lrange(key, 0, -1)]
    return [json.loads(message)["headers"] for message in messages]


def test_an_event_and_the_task_that_dispatches_it_are_on_redis_when_publish_returns(
    bus: Bus, client: redis.Redis, inbox: Inbox, gate: Gate, event: ModelVersionEvent
) -> None:
    assert publish(bus, event, [gate])
    assert inbox.read(event.id) == event
    (headers,) = _headers(client, EVENTS_QUEUE)
    assert headers["task"] == "weighbridge.dispatch"
    assert event.id in headers["argsrepr"]


def test_a_duplicate_is_not_sent(
    bus: Bus, client: redis.Redis, gate: Gate, event: ModelVersionEvent
) -> None:
    assert [publish(bus, event, [gate]) for _ in range(3)] == [True, False, False]
    assert len(_headers(client, EVENTS_QUEUE)) == 1


def test_a_weighing_goes_to_the_gpu_workers(
    bus: Bus, client: redis.Redis, weighing: WeighingId
) -> None:
    publish_weighing(bus, weighing)
    (headers,) = _headers(client, GPU_QUEUE)
    assert headers["task"] == "weighbridge.weigh"
    assert str(weighing) in headers["argsrepr"]


def test_a_producer_does_not_subscribe_to_results(
    app: Celery, bus: Bus, client: redis.Redis, weighing: WeighingId
) -> None:
    publish_weighing(bus, weighing)
    assert app.backend.as_uri() == "disabled://"
    assert client.pubsub_channels("celery-task-meta-*") == []


def test_a_hanging_redis_times_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weighing: WeighingId
) -> None:
    monkeypatch.setattr("bus.celery_app.ANSWER_TIMEOUT", 0.2)
    with RedisServer(tmp_path) as server:
        bus = Bus.open(Settings.model_validate({"CELERY_BROKER_URL": server.url}))
        publish_weighing(bus, weighing)
        server.pause()
        with pytest.raises(PlatformError, match="did not accept a task: Timeout"):
            publish_weighing(bus, weighing)
        bus.close()


def test_without_redis_the_error_names_it_and_hides_its_password(
    gate: Gate, event: ModelVersionEvent
) -> None:
    url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    with (
        Bus.open(Settings.model_validate({"CELERY_BROKER_URL": url})) as away,
        pytest.raises(PlatformError, match="did not accept the event") as refusal,
    ):
        publish(away, event, [gate])
    assert "127.0.0.1" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
