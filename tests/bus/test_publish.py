import json

import pytest
import redis
from celery import Celery

from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE, celery_app
from bus.publish import publish, publish_weighing
from rehearsal.redis_server import free_port
from schemas.errors import PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.settings import Settings


def _headers(client: redis.Redis, queue: str) -> list[dict[str, str]]:
    return [json.loads(message)["headers"] for message in client.lrange(queue, 0, -1)]


def test_an_event_lies_in_the_events_queue_when_publish_returns(
    app: Celery, client: redis.Redis, event: ModelVersionEvent
) -> None:
    task = publish(app, event)
    (headers,) = _headers(client, EVENTS_QUEUE)
    assert (headers["task"], headers["id"]) == ("weighbridge.dispatch", task)


def test_a_weighing_goes_to_the_gpu_workers(
    app: Celery, client: redis.Redis, weighing: WeighingId
) -> None:
    publish_weighing(app, weighing)
    (headers,) = _headers(client, GPU_QUEUE)
    assert headers["task"] == "weighbridge.weigh"
    assert str(weighing) in headers["argsrepr"]


def test_a_producer_listens_for_no_result(
    app: Celery, client: redis.Redis, weighing: WeighingId
) -> None:
    publish_weighing(app, weighing)
    assert app.backend.as_uri() == "disabled://"
    assert client.pubsub_channels("celery-task-meta-*") == []


def test_without_redis_the_error_names_it_and_hides_its_password(event: ModelVersionEvent) -> None:
    url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    away = celery_app(Settings.model_validate({"CELERY_BROKER_URL": url}))
    with pytest.raises(PlatformError, match="did not take the event") as refusal:
        publish(away, event)
    away.close()
    assert "127.0.0.1" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
