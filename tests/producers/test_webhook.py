import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from bus.celery_app import EVENTS_QUEUE, celery_app
from producers.webhook import Credentials, webhook_app
from rehearsal.redis_server import free_port
from schemas.errors import ConfigurationError
from schemas.events import ModelVersionEvent
from schemas.settings import Settings

_VERSION = "wandb32/wandb-registry-RAG Chat Models/Finetuned SmolLM2:v3"
_PAYLOAD = {
    "event_type": "LINK_ARTIFACT",
    "event_author": "ada",
    "alias": "",
    "artifact_version": "wandb-artifact://_id/QXJ0aWZhY3Q6NTE3ODg5ODg3",
    "artifact_version_string": _VERSION,
    "artifact_collection_name": "Finetuned SmolLM2",
    "project_name": "wandb-registry-RAG Chat Models",
    "entity_name": "wandb32",
}


@pytest.fixture
def receiver(app: Celery, settings: Settings) -> Iterator[TestClient]:
    with TestClient(webhook_app(app, Credentials.of(settings))) as client:
        yield client


def _signature(body: bytes, secret: str = "the-secret") -> bytes:
    return hmac.new(secret.encode(), body, hashlib.sha256).digest()


def _post(receiver: TestClient, body: bytes, **headers: str) -> Any:
    signed = base64.b64encode(_signature(body)).decode()
    usual = {"authorization": "Bearer the-token", "x-wandb-signature": signed}
    return receiver.post("/webhook", content=body, headers={**usual, **headers})


def _published(client: redis.Redis) -> list[ModelVersionEvent]:
    messages = [json.loads(message) for message in client.lrange(EVENTS_QUEUE, 0, -1)]
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages]
    return [ModelVersionEvent.model_validate_json(body[0][0]) for body in bodies]


def test_a_linked_version_is_accepted_and_lies_on_the_bus(
    receiver: TestClient, client: redis.Redis
) -> None:
    answer = _post(receiver, json.dumps(_PAYLOAD).encode())
    assert answer.status_code == 202
    assert answer.json()["version"] == _VERSION
    (event,) = _published(client)
    assert str(event.ref) == _VERSION
    assert event.artifact_id == "QXJ0aWZhY3Q6NTE3ODg5ODg3"
    assert (event.source, event.author) == ("webhook", "ada")


def test_a_signature_in_hexadecimal_is_taken_too(receiver: TestClient) -> None:
    body = json.dumps(_PAYLOAD).encode()
    assert _post(receiver, body, **{"x-wandb-signature": _signature(body).hex()}).status_code == 202


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"authorization": "Bearer other"}, 401, "bearer token is missing or wrong"),
        ({"authorization": ""}, 401, "bearer token is missing or wrong"),
        ({"x-wandb-signature": ""}, 403, "X-Wandb-Signature is missing or does not match"),
        ({"x-wandb-signature": "not base64 é"}, 403, "X-Wandb-Signature is missing"),
        (
            {"x-wandb-signature": _signature(json.dumps(_PAYLOAD).encode(), "other").hex()},
            403,
            "X-Wandb-Signature is missing or does not match",
        ),
    ],
)
def test_who_does_not_know_both_secrets_is_refused(
    receiver: TestClient, client: redis.Redis, headers: dict[str, str], status: int, reason: str
) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    answer = _post(receiver, json.dumps(_PAYLOAD).encode(), **encoded)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert reason in answer.json()["detail"]
    assert _published(client) == []


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "the body is not JSON"),
        (b"", 400, "the body is not JSON"),
        (b"[]", 422, "object"),
        (b"{}", 422, "artifact_version_string: Field required"),
        (
            json.dumps({**_PAYLOAD, "artifact_version_string": "v3"}).encode(),
            422,
            "'v3' is not an artifact reference",
        ),
        (b'"' + b"x" * 70_000 + b'"', 413, "larger than 65536 bytes"),
    ],
)
def test_a_body_that_tells_of_no_version_is_refused_with_the_reason(
    receiver: TestClient, client: redis.Redis, body: bytes, status: int, reason: str
) -> None:
    answer = _post(receiver, body)
    assert answer.status_code == status
    assert reason in str(answer.json()["detail"])
    assert _published(client) == []


def test_an_event_of_another_type_is_ignored(receiver: TestClient, client: redis.Redis) -> None:
    answer = _post(receiver, json.dumps({**_PAYLOAD, "event_type": "RUN_STATE"}).encode())
    assert (answer.status_code, answer.json()) == (200, {"ignored": "event type RUN_STATE"})
    assert _published(client) == []


def test_while_redis_is_away_the_sender_is_told_to_come_again(settings: Settings) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    away = celery_app(Settings.model_validate({"CELERY_BROKER_URL": url}))
    with TestClient(webhook_app(away, Credentials.of(settings))) as receiver:
        answer = _post(receiver, json.dumps(_PAYLOAD).encode())
    away.close()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"


@given(st.binary(max_size=300))
@hypothesis_settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_signed_body_breaks_the_receiver(receiver: TestClient, body: bytes) -> None:
    assert _post(receiver, body).status_code in {200, 202, 400, 422}


def test_a_receiver_without_secrets_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="WEIGHBRIDGE_WEBHOOK_TOKEN"):
        Credentials.of(Settings())


@pytest.mark.parametrize("empty", ["webhook_token", "webhook_secret"])
def test_an_empty_secret_is_no_secret(settings: Settings, empty: str) -> None:
    open_to_all = settings.model_copy(update={empty: SecretStr("")})
    with pytest.raises(ConfigurationError, match="has no token or no secret"):
        Credentials.of(open_to_all)


def test_it_says_that_it_lives(receiver: TestClient) -> None:
    assert receiver.get("/healthz").json() == {"status": "ok"}
