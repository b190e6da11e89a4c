"""Webhooks: what a receiver gets when versions are linked into a registry."""

import base64
import hashlib
import hmac
import json
import queue
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import wandb
from pydantic import HttpUrl, SecretStr

from rehearsal.local_wandb import LocalWandb, LocalWandbConfig, Webhook
from rehearsal.local_wandb.automations import Automations, LinkedVersion, deliver

LINKED = LinkedVersion(
    artifact_id="QXJ0aWZhY3Q6MQ==",
    author="local",
    entity="wandb32",
    project="wandb-registry-RAG Chat Models",
    collection="Finetuned SmolLM2",
    version=3,
)


class Receiver(HTTPServer):
    """Keeps what it gets."""

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


def test_a_delivery_has_the_keys_of_wandbs_own_examples(receiver: Receiver) -> None:
    assert deliver(receiver.webhook(), LINKED, 1) == "answered 202"
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


def test_a_delivery_carries_token_and_signature(receiver: Receiver) -> None:
    deliver(receiver.webhook(), LINKED, 1)
    headers, body = receiver.received.get(timeout=30)
    assert headers["Authorization"] == "Bearer t"
    expected = hmac.new(b"s", body, hashlib.sha256).digest()
    assert base64.b64decode(headers["X-Wandb-Signature"]) == expected


def test_without_token_and_secret_nothing_is_signed(receiver: Receiver) -> None:
    deliver(receiver.webhook(token=None, secret=None), LINKED, 1)
    headers, _ = receiver.received.get(timeout=30)
    assert {"Authorization", "X-Wandb-Signature"}.isdisjoint(headers)


def test_a_refused_delivery_is_not_repeated(receiver: Receiver) -> None:
    receiver.status = 500
    assert deliver(receiver.webhook(), LINKED, 1) == "answered 500"
    receiver.received.get(timeout=30)
    assert receiver.received.empty()


def test_a_receiver_that_is_not_there_is_told_in_the_log(receiver: Receiver) -> None:
    webhook = receiver.webhook(url="http://127.0.0.1:9/nobody")
    assert deliver(webhook, LINKED, 1).startswith("failed, ")


def test_chosen_deliveries_are_dropped(receiver: Receiver) -> None:
    automations = Automations(receiver.webhook(drop_deliveries=frozenset({2})))
    for version in range(3):
        automations.announce(
            LinkedVersion("id", "local", "wandb32", "wandb-registry-R", "C", version)
        )
    automations.close()
    assert receiver.versions(2) == [
        "wandb32/wandb-registry-R/C:v0",
        "wandb32/wandb-registry-R/C:v2",
    ]
    assert receiver.received.empty()


def test_an_automation_of_one_registry_tells_of_no_other(receiver: Receiver) -> None:
    automations = Automations(receiver.webhook(registry="wandb-registry-R"))
    for registry in ("wandb-registry-R", "wandb-registry-S", "wandb-registry-R"):
        automations.announce(LinkedVersion("id", "local", "wandb32", registry, "C", 0))
    automations.close()
    assert receiver.versions(2) == ["wandb32/wandb-registry-R/C:v0"] * 2
    assert receiver.received.empty()


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
