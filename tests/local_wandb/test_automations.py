"""Webhooks: the deliveries to a receiver when versions are linked into a registry."""

import base64
import hashlib
import hmac
import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import wandb
from pydantic import HttpUrl, SecretStr

from local_wandb import LocalWandb, LocalWandbConfig, Webhook
from local_wandb.automations import ALIASED, LINKED, Automations, VersionEvent
from local_wandb.automations.delivery import deliver
from local_wandb.automations.events import EXAMPLE_PAYLOAD, render
from local_wandb.store.automations import save_integration
from local_wandb.store.store import Store

EVENT = VersionEvent(
    type=LINKED,
    aliases=("staging",),
    artifact_id="QXJ0aWZhY3Q6MQ==",
    author="local",
    entity="wandb32",
    project="wandb-registry-RAG Chat Models",
    project_id=1,
    collection="Finetuned SmolLM2",
    collection_id=1,
    version=3,
)


class Receiver(HTTPServer):
    """Stores the requests that it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: queue.SimpleQueue[tuple[dict[str, str], bytes]] = queue.SimpleQueue()
        self.status = 202

    def webhook(self, **changes: object) -> Webhook:
        url = HttpUrl(f"http://127.0.0.1:{self.server_port}/hook")
        return Webhook.model_validate(
            {"url": url, "token": SecretStr("t"), "secret": SecretStr("s"), **changes}
        )

    def versions(self, count: int) -> list[str]:
        return [
            json.loads(self.received.get(timeout=30)[1])["artifact_version_string"]
            for _ in range(count)
        ]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.put((dict(self.headers), body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.database.close()


def deliver_events(webhook: Webhook, store: Store, *events: VersionEvent) -> None:
    automations = Automations(webhook, store)
    for event in events:
        automations.fire(event)
    automations.close()


def test_a_delivery_has_the_keys_of_wandbs_own_examples(receiver: Receiver, store: Store) -> None:
    deliver_events(receiver.webhook(), store, EVENT)
    headers, body = receiver.received.get(timeout=30)
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {
        "event_type": "LINK_ARTIFACT",
        "event_author": "local",
        "alias": "",
        "artifact_version": "wandb-artifact://_id/QXJ0aWZhY3Q6MQ==",
        "artifact_version_string": "wandb32/wandb-registry-RAG Chat Models/Finetuned SmolLM2:v3",
        "artifact_collection_name": "Finetuned SmolLM2",
        "project_name": "wandb-registry-RAG Chat Models",
        "entity_name": "wandb32",
    }


def test_variables_are_replaced_at_any_depth_and_the_payload_stays_json() -> None:
    payload = json.dumps(
        {"client_payload": {"who": ["by ${event_author}"], "alias": "${alias}"}, "id": "${unknown}"}
    )
    event = replace(EVENT, type=ALIASED, aliases=("prod",), author='Ada "A" \\ ${alias}')
    assert json.loads(render(payload, event)) == {
        "client_payload": {"who": ['by Ada "A" \\ ${alias}'], "alias": "prod"},
        "id": "${unknown}",
    }


def test_a_delivery_carries_token_and_signature(receiver: Receiver) -> None:
    deliver(receiver.webhook(), b"{}")
    headers, body = receiver.received.get(timeout=30)
    assert headers["Authorization"] == "Bearer t"
    expected = hmac.new(b"s", body, hashlib.sha256).digest()
    assert base64.b64decode(headers["X-Wandb-Signature"]) == expected


def test_without_token_and_secret_a_delivery_is_not_signed(receiver: Receiver) -> None:
    deliver(receiver.webhook(token=None, secret=None), b"{}")
    headers, _ = receiver.received.get(timeout=30)
    assert {"Authorization", "X-Wandb-Signature"}.isdisjoint(headers)


def test_a_refused_delivery_is_not_retried(receiver: Receiver) -> None:
    receiver.status = 500
    assert deliver(receiver.webhook(), b"{}") == "answered 500"
    receiver.received.get(timeout=30)
    assert receiver.received.empty()


def test_an_unreachable_receiver_is_logged(receiver: Receiver) -> None:
    webhook = receiver.webhook(url="http://127.0.0.1:9/nobody")
    assert deliver(webhook, b"{}").startswith("failed, ")


def test_the_configured_deliveries_are_dropped_or_doubled(receiver: Receiver, store: Store) -> None:
    webhook = receiver.webhook(drop_deliveries={2}, double_deliveries={3})
    deliver_events(webhook, store, *(replace(EVENT, version=number) for number in range(4)))
    assert [path[-2:] for path in receiver.versions(4)] == ["v0", "v2", "v2", "v3"]
    assert receiver.received.empty()


def test_an_automation_of_one_registry_ignores_the_others(receiver: Receiver, store: Store) -> None:
    registries = ("wandb-registry-R", "wandb-registry-S", "no-registry", "wandb-registry-R")
    events = [replace(EVENT, project=registry, collection="C") for registry in registries]
    deliver_events(receiver.webhook(registry="wandb-registry-R"), store, *events)
    assert receiver.versions(2) == ["wandb32/wandb-registry-R/C:v3"] * 2
    assert receiver.received.empty()


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 1),
        ({"scope_type": "ARTIFACT_COLLECTION"}, 1),
        ({"scope_type": "ARTIFACT_COLLECTION", "scope_id": 2}, 0),
        ({"scope_id": 2}, 0),
        ({"enabled": False}, 0),
        ({"event_type": ALIASED}, 0),
        ({"event_filter": '{"$or": [{"$and": [{"alias": {"$regex": "^stag"}}]}]}'}, 1),
        ({"event_filter": '{"alias": "production"}'}, 0),
    ],
    ids=str,
)
def test_an_automation_fires_for_its_event_in_its_scope(
    receiver: Receiver, store: Store, changes: dict[str, object], count: int
) -> None:
    webhook = receiver.webhook(automation=False)
    columns = {
        "name": "an automation",
        "enabled": True,
        "scope_type": "PROJECT",
        "scope_id": 1,
        "event_type": LINKED,
        "event_filter": "{}",
        "payload": EXAMPLE_PAYLOAD,
        "integration_id": save_integration(store, webhook),
        "created_at": "",
        "updated_at": "",
    }
    store.automations.add(**columns | changes)
    deliver_events(webhook, store, EVENT)
    assert receiver.received.qsize() == count


def test_linking_into_a_registry_fires_once_per_new_version(
    receiver: Receiver, tmp_path: Path, sdk: Callable[..., None]
) -> None:
    config = LocalWandbConfig(data_dir=tmp_path / "data", webhook=receiver.webhook())
    path = "wandb32/wandb-registry-Models/Adapters"
    with LocalWandb(config) as server:
        sdk(server)
        wandb.Api().create_registry("Models", visibility="organization", organization="wandb32")
        with wandb.init() as run:
            for text in ("one", "two"):
                artifact = wandb.Artifact("adapter", type="model", metadata={"text": text})
                (tmp_path / "weights.txt").write_text(text)
                artifact.add_file(str(tmp_path / "weights.txt"))
                run.log_artifact(artifact).wait()
                run.link_artifact(artifact, path, aliases=["staging"])
                run.link_artifact(artifact, path, aliases=["again"])
                run.link_artifact(artifact, "a-portfolio")
    assert receiver.versions(2) == [f"{path}:v0", f"{path}:v1"]
    assert receiver.received.empty()
    log = (config.data_dir / "server.log").read_text()
    assert f"webhook delivery 2 of {path}:v1: answered 202" in log
