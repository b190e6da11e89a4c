"""`weighbridge automation create`; tests/producers/test_automation.py tests its automations."""

import json
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from click.testing import Result
from pydantic import HttpUrl

from local_wandb import LocalWandb, LocalWandbConfig, Webhook
from schemas.gates import Gate

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def local_wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWandb]:
    url = HttpUrl("http://127.0.0.1:9/webhook")
    webhook = Webhook(url=url, registry="wandb-registry-Nobody's")
    folder = tmp_path_factory.mktemp("wandb")
    with LocalWandb(LocalWandbConfig(data_dir=folder, webhook=webhook)) as running:
        yield running


@pytest.fixture
def path(registry: Callable[[str], str], gate: Gate, write_gates: Callable[[Gate], None]) -> str:
    """A registry for this test only; the gate in the gate file watches it."""
    made = registry(f"Models {uuid4().hex[:8]}")
    write_gates(gate.model_copy(update={"watch": (f"{made}/*",)}))
    return made


def test_it_prints_what_it_created_and_then_that_nothing_changed(
    path: str, command: Command
) -> None:
    name = f"weighbridge link {path.replace('wandb-registry-', '')}/*: LINK_ARTIFACT to weighbridge"
    assert command("automation", "create").output == f"created   {name}\n"
    assert command("automation", "create").output == f"unchanged {name}\n"
    (made,) = json.loads(command("automation", "create", "--json").output)
    assert made["gates"] == ["climate-rag"]


def test_a_missing_webhook_must_be_created_by_hand(path: str, command: Command) -> None:
    result = command("automation", "create", "--integration=none")
    assert result.exit_code == 1
    assert "no webhook 'none'" in result.output
    assert "Team settings > Webhooks" in result.output
