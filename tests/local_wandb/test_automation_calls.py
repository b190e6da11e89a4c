"""Automations as ``wandb.Api`` creates, finds, changes and deletes them, and their deliveries."""

import json
import queue
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import pytest
import wandb
from pydantic import HttpUrl
from wandb.apis.public import Api
from wandb.apis.public.registries.registry import Registry
from wandb.automations import (
    ArtifactEvent,
    Automation,
    OnAddArtifactAlias,
    OnLinkArtifact,
    SendWebhook,
)
from wandb.automations.actions import SavedWebhookAction

from local_wandb import LocalWandb, LocalWandbConfig, Webhook

PAYLOAD = {"client_payload": {"text": "${event_type} ${alias} ${artifact_version_string}"}}

Log = Callable[..., wandb.Artifact]
Make = Callable[..., Automation]


class Receiver(HTTPServer):
    """Stores the texts that it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.texts: queue.SimpleQueue[str] = queue.SimpleQueue()

    def next(self, count: int) -> list[str]:
        return [self.texts.get(timeout=30) for _ in range(count)]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.texts.put(body["client_payload"]["text"])
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWandb]:
    """A server whose webhook receives only the deliveries of automations that tests create."""
    url = HttpUrl(f"http://127.0.0.1:{receiver.server_port}/hook")
    webhook = Webhook(url=url, name="gatekeeper", automation=False)
    folder = tmp_path_factory.mktemp("wandb-with-webhook")
    with LocalWandb(LocalWandbConfig(data_dir=folder, webhook=webhook)) as running:
        yield running


@pytest.fixture
def scope(api: Api, registry: str) -> Registry:
    entity, name = registry.split("/wandb-registry-")
    return api.registry(name, organization=entity)


@pytest.fixture
def make(api: Api, scope: Registry) -> Make:
    """Creates an automation of this test's own registry."""

    def automation(
        event: type = OnLinkArtifact, name: str = "", fetch_existing: bool = False, **settings: Any
    ) -> Automation:
        (integration,) = api.webhook_integrations()
        new = event(**{"scope": scope, **settings}) >> SendWebhook.from_integration(
            integration, payload=PAYLOAD
        )
        name = name or f"automation {uuid4().hex[:8]}"
        return api.create_automation(new, name=name, fetch_existing=fetch_existing)

    return automation


def action(automation: Automation) -> SavedWebhookAction:
    assert isinstance(automation.action, SavedWebhookAction)
    return automation.action


def test_the_configured_webhook_is_an_integration(api: Api, receiver: Receiver) -> None:
    for entity in (None, "wandb32"):
        (found,) = api.webhook_integrations(entity)
        assert found.name == "gatekeeper"
        assert found.url_endpoint == f"http://127.0.0.1:{receiver.server_port}/hook"
    assert list(api.slack_integrations()) == []


def test_an_automation_is_found_by_its_name(api: Api, make: Make, scope: Registry) -> None:
    made = make(OnAddArtifactAlias, filter=ArtifactEvent.alias.matches_regex("^prod"))
    make()
    assert api.automation(made.name) == made
    assert api.automation(made.name, entity="wandb32") == made
    assert made in list(api.automations("wandb32"))
    assert list(api.automations("wandb-smle")) == []
    assert (made.scope.id, made.scope.name) == (scope.id, scope.full_name)
    assert made.event.event_type.value == "ADD_ARTIFACT_ALIAS"
    assert action(made).request_payload == PAYLOAD


def test_the_name_of_an_automation_is_unique(api: Api, make: Make) -> None:
    made, other = make(), make()
    with pytest.raises(wandb.errors.CommError, match="exists"):
        make(name=made.name)
    assert make(name=made.name, fetch_existing=True) == made
    with pytest.raises(wandb.errors.CommError, match="exists already"):
        api.update_automation(other, name=made.name)


def test_an_automation_is_changed(api: Api, make: Make) -> None:
    made = make()
    made.enabled = False
    action(made).request_payload = {"new": "${alias}"}
    changed = api.update_automation(made, description="why")
    assert (changed.enabled, changed.description) == (False, "why")
    assert api.automation(made.name) == changed
    event = OnAddArtifactAlias(scope=made.scope, filter=ArtifactEvent.alias.eq("prod"))
    changed = api.update_automation(changed, event=event)
    assert api.automation(made.name).event == changed.event
    assert "prod" in changed.event.model_dump_json()


def test_an_automation_is_deleted(api: Api, make: Make) -> None:
    made = make()
    assert api.delete_automation(made)
    with pytest.raises(ValueError, match="No automations"):
        api.automation(made.name)


def test_an_automation_needs_an_existing_webhook(api: Api, make: Make) -> None:
    made = make()
    elsewhere = SendWebhook(integration_id="R2VuZXJpY1dlYmhvb2tJbnRlZ3JhdGlvbjo5OQ==")
    with pytest.raises(wandb.errors.CommError, match="not found"):
        api.update_automation(made, action=elsewhere)


def test_a_link_fires_in_its_registry_and_its_collection(
    api: Api, make: Make, scope: Registry, registry: str, log: Log, receiver: Receiver
) -> None:
    log("one", link=f"{registry}/mine")
    log("two", link=f"{registry}/other")
    (mine,) = scope.collections(filter={"name": "mine"})
    make()
    make(scope=mine)
    log("three", link=f"{registry}/other")
    log("four", link=f"{registry}/mine")
    linked = f"LINK_ARTIFACT  {registry}"
    assert receiver.next(3) == [f"{linked}/other:v1", f"{linked}/mine:v1", f"{linked}/mine:v1"]
    assert receiver.texts.empty()


def test_an_alias_fires_when_it_is_new_to_the_version(
    make: Make, registry: str, log: Log, receiver: Receiver
) -> None:
    make(OnAddArtifactAlias, filter=ArtifactEvent.alias.matches_regex("^prod"))
    version = log("one", link=f"{registry}/mine", link_aliases=("staging", "prod-eu"))
    version.aliases += ["production", "checked"]
    version.save()
    version.aliases += ["prod-us"]
    version.save()
    path = f"{registry}/mine:v0"
    assert receiver.next(3) == [
        f"ADD_ARTIFACT_ALIAS {alias} {path}" for alias in ("prod-eu", "production", "prod-us")
    ]
    assert receiver.texts.empty()


def test_a_disabled_or_deleted_automation_sends_nothing(
    api: Api, make: Make, registry: str, log: Log, receiver: Receiver
) -> None:
    off = make()
    off.enabled = False
    api.update_automation(off)
    api.delete_automation(make())
    log("one", link=f"{registry}/mine")
    make()
    log("two", link=f"{registry}/mine")
    assert receiver.next(1) == [f"LINK_ARTIFACT  {registry}/mine:v1"]
    assert receiver.texts.empty()
