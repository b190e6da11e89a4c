from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
import redis
import yaml
from celery import Celery

from bus.celery_app import EVENTS_QUEUE
from producers.enqueue import enqueue
from schemas.errors import ConfigurationError
from schemas.gates import Gate, GateFile
from schemas.settings import Settings


@pytest.fixture
def collection() -> str:
    return f"collection {uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def gate_file(settings: Settings, gate: Gate) -> Path:
    text = yaml.safe_dump(GateFile(gates=(gate,)).model_dump(mode="json"))
    settings.gates_path.write_text(text)
    return settings.gates_path


def test_a_version_is_put_on_the_bus_under_every_gate_that_watches_it(
    app: Celery,
    settings: Settings,
    client: redis.Redis,
    link: Callable[..., str],
    collection: str,
) -> None:
    linked = link("one", collection)
    (weighing,) = enqueue(app, settings, linked.replace(":v0", ":latest")).weighings
    assert str(weighing) == f"climate-rag/{linked}"
    assert client.llen(EVENTS_QUEUE) == 1


@pytest.mark.parametrize(
    ("ref", "name", "message"),
    [
        ("wandb32/wandb-registry-RAG Chat Models/none:v0", None, "could not read version"),
        ("wandb32/wandb-registry-Other/c:v0", None, "No gate watches"),
        ("wandb32/wandb-registry-RAG Chat Models/c:v0", "other", "no gate 'other'"),
    ],
)
def test_what_cannot_be_weighed_is_refused_and_nothing_is_enqueued(
    app: Celery,
    settings: Settings,
    client: redis.Redis,
    registry: Callable[[str], str],
    ref: str,
    name: str | None,
    message: str,
) -> None:
    registry("RAG Chat Models")
    with pytest.raises(ConfigurationError, match=message):
        enqueue(app, settings, ref, gate=name)
    assert client.llen(EVENTS_QUEUE) == 0
