import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from fastapi.testclient import TestClient
from pydantic import SecretStr

from bus.celery_app import EVENTS_QUEUE, queue_length
from bus.inbox import Inbox
from bus.ledger import Ledger
from producers.webhook import Credentials, webhook_app
from rehearsal.redis_server import RedisServer
from schemas.errors import ConfigurationError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, GateFile
from schemas.settings import Settings
from tests.waiting import wait_for

_TIMEOUT = 20.0  # seconds
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
def gated(settings: Settings, gate: Gate) -> Settings:
    """Settings with one gate for linked versions, and one for an alias."""
    aliased = gate.model_copy(update={"name": "aliased", "when_alias": "candidate-*"})
    document = GateFile(gates=(gate, aliased)).model_dump(mode="json", exclude_none=True)
    settings.gates_path.write_text(yaml.safe_dump(document))
    return settings


@pytest.fixture
def receiver(gated: Settings, client: redis.Redis) -> Iterator[TestClient]:
    with TestClient(webhook_app(gated)) as receiver:
        yield receiver


def _signature(body: bytes, secret: str = "the-secret") -> bytes:
    return hmac.new(secret.encode(), body, hashlib.sha256).digest()


def _post(receiver: TestClient, body: bytes, **headers: str) -> Any:
    signed = base64.b64encode(_signature(body)).decode()
    usual = {
        "content-type": "application/json",
        "authorization": "Bearer the-token",
        "x-wandb-signature": signed,
    }
    return receiver.post("/webhook", content=body, headers={**usual, **headers})


def _deliver(receiver: TestClient, **changes: Any) -> Any:
    return _post(receiver, json.dumps({**_PAYLOAD, **changes}).encode())


def _events(inbox: Inbox) -> list[ModelVersionEvent]:
    events = [inbox.read(event_id) for event_id in inbox.waiting()]
    return [event for event in events if event]


def test_a_linked_version_is_accepted_into_the_inbox(receiver: TestClient, inbox: Inbox) -> None:
    answer = _deliver(receiver)
    (event,) = _events(inbox)
    assert answer.status_code == 202
    assert answer.json() == {"events": [event.id], "weighings": [f"climate-rag/{_VERSION}"]}
    assert str(event.ref) == _VERSION
    assert event.artifact_id == "QXJ0aWZhY3Q6NTE3ODg5ODg3"
    assert (event.source, event.author, event.alias) == ("webhook", "ada", None)


def test_tasks_for_accepted_events_are_sent_together(gated: Settings, client: redis.Redis) -> None:
    with TestClient(webhook_app(gated)) as receiver:
        answers = [_deliver(receiver, artifact_version_string=f"{_VERSION}{n}") for n in range(20)]
    tasks = [json.loads(message) for message in client.lrange(f"weighbridge:{EVENTS_QUEUE}", 0, -1)]
    ids = {one for task in tasks for one in json.loads(base64.b64decode(task["body"]))[0][0]}
    assert ids == {answer.json()["events"][0] for answer in answers}
    assert len(tasks) < len(answers)


def test_keys_nested_as_for_github_are_accepted(receiver: TestClient, inbox: Inbox) -> None:
    nested = {"event_type": "weigh", "client_payload": _PAYLOAD}
    assert _post(receiver, json.dumps(nested).encode()).status_code == 202
    assert [str(event.ref) for event in _events(inbox)] == [_VERSION]


@pytest.mark.parametrize("key", ["artifact_version_string", "artifact_version"])
def test_a_version_with_its_scheme_is_accepted(
    receiver: TestClient, inbox: Inbox, key: str
) -> None:
    body = {"event_type": "LINK_ARTIFACT", key: f"wandb-artifact:///{_VERSION}"}
    assert _post(receiver, json.dumps(body).encode()).status_code == 202
    (event,) = _events(inbox)
    assert (str(event.ref), event.artifact_id) == (_VERSION, None)


def test_a_matching_alias_is_accepted(receiver: TestClient, inbox: Inbox) -> None:
    answer = _deliver(receiver, event_type="ADD_ARTIFACT_ALIAS", alias="candidate-7")
    assert answer.status_code == 202
    assert answer.json()["weighings"] == [f"aliased/{_VERSION}"]
    assert [event.alias for event in _events(inbox)] == ["candidate-7"]


def test_an_unresolved_alias_is_accepted_without_weighings(
    receiver: TestClient,
) -> None:
    answer = _deliver(receiver, artifact_version_string=_VERSION.replace("v3", "latest"))
    assert (answer.status_code, answer.json()["weighings"]) == (202, [])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"event_type": "RUN_STATE", "artifact_version_string": ""}, "event type RUN_STATE"),
        ({"event_type": "ADD_ARTIFACT_ALIAS", "alias": "other"}, f"no gate takes {_VERSION}"),
        ({"artifact_version_string": "a/b/c:v0"}, "no gate takes a/b/c:v0"),
    ],
)
def test_a_delivery_that_no_gate_takes_is_ignored_with_the_reason(
    receiver: TestClient, inbox: Inbox, changes: dict[str, str], why: str
) -> None:
    answer = _deliver(receiver, **changes)
    assert (answer.status_code, answer.json()) == (200, {"ignored": why})
    assert _events(inbox) == []


def test_a_delivery_that_comes_twice_is_a_duplicate(receiver: TestClient, inbox: Inbox) -> None:
    first, second = _deliver(receiver), _deliver(receiver)
    event_id = first.json()["events"][0]
    assert second.status_code == 200
    assert second.json() == {"ignored": f"event {event_id} is known already"}
    assert inbox.waiting() == [event_id]


def test_a_version_in_the_ledger_is_a_duplicate(
    receiver: TestClient, ledger: Ledger, gate: Gate, event: ModelVersionEvent
) -> None:
    ledger.open(WeighingId.of(gate.name, event.ref), gate, event)
    assert "is known already" in _deliver(receiver).json()["ignored"]


@pytest.mark.parametrize("signature", [_signature(json.dumps(_PAYLOAD).encode()).hex()])
def test_a_hexadecimal_signature_is_accepted(receiver: TestClient, signature: str) -> None:
    body = json.dumps(_PAYLOAD).encode()
    for written in (signature, signature.upper()):
        assert _post(receiver, body, **{"x-wandb-signature": written}).is_success


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"content-type": "text/plain", "authorization": ""}, 415, "not application/json"),
        (
            {"authorization": "Bearer other", "x-wandb-signature": ""},
            401,
            "bearer token is missing",
        ),
        ({"authorization": "Bearer the-token\xe9"}, 401, "bearer token is missing or wrong"),
        ({"x-wandb-signature": ""}, 403, "X-Wandb-Signature is missing or does not match"),
        ({"x-wandb-signature": "not base64 é"}, 403, "X-Wandb-Signature is missing"),
        (
            {"x-wandb-signature": _signature(json.dumps(_PAYLOAD).encode(), "other").hex()},
            403,
            "X-Wandb-Signature is missing or does not match",
        ),
    ],
)
def test_an_unauthenticated_delivery_is_refused(
    receiver: TestClient, inbox: Inbox, headers: dict[str, str], status: int, reason: str
) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    answer = _post(receiver, json.dumps(_PAYLOAD).encode(), **encoded)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert reason in answer.json()["detail"]
    assert _events(inbox) == []


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "the body is not JSON"),
        (b"", 400, "the body is not JSON"),
        (b'{"event_type": "\xff"}', 400, "the body is not JSON"),
        (b'{"event_type": "\\ud800"}', 400, "the body is not JSON"),
        (b"[" * 10_000, 400, "the body is not JSON"),
        (b"[]", 422, "object"),
        (b"{}", 422, "event_type: Field required"),
        (b'{"event_type": 1e999}', 422, "event_type: Input should be a valid string"),
        (b'{"event_type": NaN}', 422, "event_type: Input should be a valid string"),
        (b'{"event_type": "LINK_ARTIFACT"}', 422, "artifact_version_string: it is missing"),
        (b'{"event_type": "ADD_ARTIFACT_ALIAS"}', 422, "alias: it is missing"),
        (
            b'{"event_type": "LINK_ARTIFACT", "artifact_version_string": "a/b/c\\u0000:v1"}',
            422,
            "it holds a control character",
        ),
        (
            b'{"event_type": "LINK_ARTIFACT", "artifact_version_string": "a/b/c:v'
            + b"9" * 5000
            + b'"}',
            422,
            "at most 512 characters",
        ),
        (
            json.dumps({**_PAYLOAD, "artifact_version_string": "v3"}).encode(),
            422,
            "'v3' is not an artifact reference",
        ),
        (b'"' + b"x" * 70_000 + b'"', 413, "larger than 65536 bytes"),
    ],
)
def test_an_invalid_body_is_refused_with_the_reason(
    receiver: TestClient, inbox: Inbox, body: bytes, status: int, reason: str
) -> None:
    answer = _post(receiver, body)
    assert answer.status_code == status
    assert reason in str(answer.json()["detail"])
    assert _events(inbox) == []


def test_a_disabled_check_is_skipped(gated: Settings, client: redis.Redis) -> None:
    update = {"webhook_checks": frozenset({"token"}), "webhook_secret": None}
    with TestClient(webhook_app(gated.model_copy(update=update))) as receiver:
        body = json.dumps(_PAYLOAD).encode()
        assert _post(receiver, body, **{"x-wandb-signature": ""}).status_code == 202
        assert _post(receiver, body, authorization="").status_code == 401


@pytest.mark.parametrize("variable", ["TOKEN", "SECRET"])
@pytest.mark.parametrize("empty", [None, SecretStr("")])
def test_a_receiver_without_a_required_secret_does_not_start(
    settings: Settings, variable: str, empty: SecretStr | None
) -> None:
    lacking = settings.model_copy(update={f"webhook_{variable.lower()}": empty})
    with pytest.raises(ConfigurationError, match=f"WEIGHBRIDGE_WEBHOOK_{variable}"):
        Credentials.of(lacking)


def test_healthz_is_ok(receiver: TestClient) -> None:
    assert receiver.get("/healthz").json() == {"status": "ok"}


def test_it_is_ready_while_events_are_dispatched(receiver: TestClient, inbox: Inbox) -> None:
    _deliver(receiver)
    assert receiver.get("/readyz").json() == {"status": "ready"}


def test_it_is_not_ready_while_events_are_not_dispatched(
    gated: Settings, client: redis.Redis
) -> None:
    hasty = gated.model_copy(update={"lease": 0.001})
    with TestClient(webhook_app(hasty)) as receiver:
        _deliver(receiver)
        time.sleep(0.01)
        answer = receiver.get("/readyz")
    assert answer.status_code == 503
    assert "worker serves the queue 'events'" in answer.json()["detail"]


def test_metrics_count_deliveries_and_show_the_bus(
    receiver: TestClient, client: redis.Redis
) -> None:
    for _ in range(2):
        _deliver(receiver)
    _post(receiver, b"{")
    wait_for(lambda: queue_length(client, EVENTS_QUEUE) == 1, _TIMEOUT)
    text = receiver.get("/metrics").text
    for answer in ("accepted", "duplicate", "400"):
        assert f'weighbridge_webhook_deliveries_total{{answer="{answer}"}} 1.0' in text
    assert "weighbridge_webhook_seconds_count 3.0" in text
    assert "weighbridge_inbox_events 1.0" in text
    assert 'weighbridge_queue_tasks{queue="events"} 1.0' in text
    assert "weighbridge_weighings_unfinished 0.0" in text
    assert "the-token" not in text
    assert "the-secret" not in text


def test_a_hanging_redis_times_out_with_503(
    gated: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.webhook.acceptor._TIMEOUT", 0.5)
    with RedisServer(tmp_path / "redis") as server:
        moved = gated.model_copy(update={"broker_url": server.url})
        with TestClient(webhook_app(moved)) as receiver:
            server.pause()
            began = time.monotonic()
            answer = _deliver(receiver)
            seconds = time.monotonic() - began
            server.resume()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert seconds < 5


def test_it_survives_an_outage_of_redis(gated: Settings, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        moved = gated.model_copy(update={"broker_url": server.url})
        with TestClient(webhook_app(moved)) as receiver:
            assert _deliver(receiver).status_code == 202
            server.stop()
            away = _deliver(receiver, artifact_version_string=f"{_VERSION}1")
            assert (away.status_code, away.headers["retry-after"]) == (503, "5")
            assert receiver.get("/readyz").status_code == 503
            assert "weighbridge_redis_up 0.0" in receiver.get("/metrics").text
            assert receiver.get("/healthz").status_code == 200
            server.start()
            assert _deliver(receiver, artifact_version_string=f"{_VERSION}1").status_code == 202
            assert "is known already" in _deliver(receiver).json()["ignored"]
