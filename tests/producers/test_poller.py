import json
from collections.abc import Callable
from uuid import uuid4

import pytest
import redis
from celery import Celery

from bus.celery_app import EVENTS_QUEUE
from bus.ledger import Ledger
from producers.poller import poll_once
from registry.calls import wandb_api
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, GateFile
from schemas.refs import ArtifactRef

_TIMEOUT = 19.0


@pytest.fixture
def collection() -> str:
    return f"collection {uuid4().hex[:8]}"


@pytest.fixture
def gates(gate: Gate, collection: str) -> GateFile:
    watch = (f"wandb32/wandb-registry-RAG Chat Models/{collection}",)
    return GateFile(gates=(gate.model_copy(update={"watch": watch}),))


def test_versions_that_the_ledger_does_not_know_are_published(
    app: Celery,
    client: redis.Redis,
    ledger: Ledger,
    link: Callable[..., str],
    gates: GateFile,
    collection: str,
) -> None:
    linked = [link(text, collection) for text in ("one", "two")]
    published = poll_once(app, ledger, wandb_api(_TIMEOUT), gates)
    assert [str(weighing.version) for weighing in published] == linked
    assert client.llen(EVENTS_QUEUE) == 2


def test_a_version_that_the_ledger_knows_is_left_alone(
    app: Celery,
    client: redis.Redis,
    ledger: Ledger,
    link: Callable[..., str],
    gates: GateFile,
    collection: str,
) -> None:
    version = ArtifactRef.parse(link("one", collection))
    event = ModelVersionEvent(ref=version, source="webhook")
    (gate,) = gates.gates
    ledger.open(WeighingId.of(gate.name, version), gate, event)
    assert poll_once(app, ledger, wandb_api(_TIMEOUT), gates) == []
    assert client.llen(EVENTS_QUEUE) == 0


def test_an_event_says_that_the_poller_found_it(
    app: Celery,
    client: redis.Redis,
    ledger: Ledger,
    link: Callable[..., str],
    gates: GateFile,
    collection: str,
) -> None:
    link("one", collection)
    poll_once(app, ledger, wandb_api(_TIMEOUT), gates)
    (message,) = client.lrange(EVENTS_QUEUE, 0, -1)
    arguments = json.loads(message)["headers"]["argsrepr"]
    assert '"source":"poller"' in arguments
