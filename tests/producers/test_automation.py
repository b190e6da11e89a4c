"""Create the automations that the gates need, in a local W&B with a webhook."""

import json
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
import wandb
import yaml
from pydantic import HttpUrl
from wandb.automations import OnLinkArtifact
from wandb.automations.actions import SavedWebhookAction

from local_wandb import LocalWandb, LocalWandbConfig, Webhook
from producers.automation import PAYLOAD, AutomationResult, create_automations
from registry.helper_process import end_helper_process
from schemas.errors import ConfigurationError
from schemas.gates import Gate, GateFile
from schemas.settings import Settings

URL = "http://127.0.0.1:9/webhook"

Watch = Callable[..., Settings]


@pytest.fixture(scope="module")
def local_wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWandb]:
    webhook = Webhook(url=HttpUrl(URL), registry="wandb-registry-Nobody's")
    folder = tmp_path_factory.mktemp("wandb")
    with LocalWandb(LocalWandbConfig(data_dir=folder, webhook=webhook)) as running:
        yield running


@pytest.fixture
def path(registry: Callable[[str], str]) -> str:
    """A registry for this test only."""
    return registry(f"Models {uuid4().hex[:8]}")


@pytest.fixture
def watch(tmp_path: Path, gate: Gate) -> Watch:
    """Settings with one gate per argument: what it watches, and its alias."""

    def settings(*gates: tuple[str, str | None]) -> Settings:
        made = tuple(
            gate.model_copy(update={"name": f"gate-{i}", "watch": (watched,), "when_alias": alias})
            for i, (watched, alias) in enumerate(gates)
        )
        file = tmp_path / "gates.yaml"
        file.write_text(yaml.safe_dump(GateFile(gates=made).model_dump(mode="json")))
        return Settings.model_validate({"WEIGHBRIDGE_GATES": file})

    return settings


def create(settings: Settings) -> list[AutomationResult]:
    return create_automations(settings, integration=None, url=None)


def test_a_gate_that_watches_a_pattern_gets_an_automation_for_the_registry(
    watch: Watch, path: str
) -> None:
    (made,) = create(watch((f"{path}/Fine*", None)))
    name = f"weighbridge link {path.replace('wandb-registry-', '')}/*"
    assert made == AutomationResult(
        name=name,
        event="LINK_ARTIFACT",
        scope=f"{path}/*",
        alias=None,
        gates=("gate-0",),
        integration="weighbridge",
        enabled=True,
        outcome="created",
    )
    saved = wandb.Api().automation(name)
    assert f"wandb32/{saved.scope.name}" == path
    assert isinstance(saved.action, SavedWebhookAction)
    assert saved.action.request_payload == PAYLOAD


def test_a_gate_that_watches_one_collection_gets_an_automation_for_it(
    watch: Watch, link: Callable[..., str]
) -> None:
    collection = f"collection {uuid4().hex[:8]}"
    path = link("one", collection).removesuffix(":v0")
    (made,) = create(watch((path, None)))
    assert made.scope == path
    assert wandb.Api().automation(made.name).scope.name == collection


def test_gates_with_the_same_scope_and_event_share_an_automation(watch: Watch, path: str) -> None:
    gates = (f"{path}/*", None), (f"{path}/One", None), (f"{path}/T*", None), (f"{path}/*", "prod")
    made = create(watch(*gates))
    assert [(one.event, one.gates) for one in made] == [
        ("LINK_ARTIFACT", ("gate-0", "gate-1", "gate-2")),
        ("ADD_ARTIFACT_ALIAS", ("gate-3",)),
    ]


@pytest.mark.parametrize(
    ("pattern", "regex"),
    [("production", "^production$"), ("v?.*-[ab]", r"^v.\..*\-.$")],
)
def test_a_gate_with_an_alias_gets_an_automation_for_that_alias(
    watch: Watch, path: str, pattern: str, regex: str
) -> None:
    (made,) = create(watch((f"{path}/*", pattern)))
    saved = wandb.Api().automation(made.name)
    assert (made.event, made.alias) == ("ADD_ARTIFACT_ALIAS", pattern)
    assert saved.event.event_type.value == "ADD_ARTIFACT_ALIAS"
    assert dict(saved.event.filter)["filter"].model_dump() == {
        "$or": [{"$and": [{"alias": {"$regex": regex}}]}]
    }


def test_repeating_it_changes_nothing(watch: Watch, path: str) -> None:
    settings = watch((f"{path}/*", None), (f"{path}/*", "prod*"))
    first = create(settings)
    before = [wandb.Api().automation(one.name) for one in first]
    assert [one.outcome for one in create(settings)] == ["unchanged"] * 2
    assert [wandb.Api().automation(one.name) for one in first] == before


def test_manual_changes_are_reverted_but_a_disabled_automation_stays_disabled(
    watch: Watch, path: str
) -> None:
    settings = watch((f"{path}/*", "prod*"))
    (made,) = create(settings)
    api = wandb.Api()
    saved = api.automation(made.name)
    saved.enabled = False
    api.update_automation(saved)
    assert [(one.outcome, one.enabled) for one in create(settings)] == [("unchanged", False)]
    event = OnLinkArtifact(scope=saved.scope)
    api.update_automation(saved, event=event)
    assert [(one.outcome, one.enabled) for one in create(settings)] == [("updated", False)]
    assert wandb.Api().automation(made.name).event == saved.event


@pytest.mark.parametrize(
    ("integration", "url", "asked"),
    [
        ("another", None, "no webhook 'another'"),
        (None, "https://another/webhook", "no webhook to https://another/webhook"),
        ("weighbridge", "https://another/webhook", "no webhook 'weighbridge' to https://another"),
    ],
)
def test_without_a_webhook_the_error_says_what_to_do_by_hand(
    watch: Watch, path: str, integration: str | None, url: str | None, asked: str
) -> None:
    settings = watch((f"{path}/*", None), (f"{path}/*", "prod*"))
    with pytest.raises(ConfigurationError, match=re.escape(asked)) as caught:
        create_automations(settings, integration=integration, url=url)
    assert f"it has weighbridge ({URL})" in caught.value.message
    for told in (
        "Team settings > Webhooks",
        url or "https://YOUR-HOST/webhook",
        "WEIGHBRIDGE_WEBHOOK_TOKEN",
        "WEIGHBRIDGE_WEBHOOK_SECRET",
        "scope the whole registry; event: A new version is linked to a collection",
        "An artifact alias is added, with the alias regex ^prod.*$",
        json.dumps(PAYLOAD),
    ):
        assert told in caught.value.fix


def test_a_missing_collection_is_an_error(watch: Watch, path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"There is no collection .*/Later yet"):
        create(watch((f"{path}/Later", None)))


def test_if_wandb_refuses_automations_the_error_says_what_to_do_by_hand(
    watch: Watch, path: str, refused: None
) -> None:
    with pytest.raises(ConfigurationError, match="permission denied") as caught:
        create(watch((f"{path}/*", None)))
    assert "create the automation 'weighbridge link" in caught.value.message
    assert "event: A new version is linked to a collection" in caught.value.fix
    assert "New webhook" not in caught.value.fix


@pytest.fixture
def refused(path: str, local_wandb: LocalWandb, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A W&B whose plan has no automations; other requests reach the local W&B."""

    class Plan(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if b"createFilterTrigger" in body:
                self._answer(403, json.dumps({"errors": [{"message": "permission denied"}]}))
                return
            headers = {name: self.headers[name] for name in ("Authorization", "Content-Type")}
            request = urllib.request.Request(local_wandb.url + self.path, body, headers)
            with urllib.request.urlopen(request) as response:
                self._answer(response.status, response.read().decode())

        def _answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Plan) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        end_helper_process()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        yield
        end_helper_process()
        server.shutdown()
        thread.join()
