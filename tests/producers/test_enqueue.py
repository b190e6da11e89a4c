from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
import redis
import yaml
from celery import Celery

from bus.celery_app import EVENTS_QUEUE
from bus.ledger import Ledger
from producers.enqueue import Enqueued, enqueue, wait_for
from schemas.errors import ConfigurationError, PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, GateFile
from schemas.settings import Settings
from schemas.verdicts import Outcome, Verdict
from schemas.weighings import Weighing


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


def _weigh(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent, outcome: Outcome
) -> None:
    """What the workers do with an event, from its dispatch to the verdict."""
    assert ledger.open(weighing, gate, event)
    token = ledger.claim(weighing)
    assert token is not None
    verdict = Verdict(weighing=weighing, source=event.source, outcome=outcome, reason="because")
    assert ledger.end(verdict, token)


def test_a_verdict_that_is_there_already_is_the_answer(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    _weigh(ledger, weighing, gate, event, "rejected")
    again = event.model_copy(update={"source": "manual"})
    told: list[Weighing] = []
    (record,) = wait_for(ledger, Enqueued(again, [weighing]), told.append)
    assert record.state == "rejected"
    assert told == [record]


class _LaterLedger(Ledger):
    """A ledger in which something happens between the first look and the second."""

    looks = 0
    happens: Callable[[], object]

    def get(self, weighing: WeighingId) -> Weighing | None:
        self.looks += 1
        if self.looks == 2:
            self.happens()
        return super().get(weighing)


def test_with_force_an_old_verdict_is_not_the_answer(
    client: redis.Redis,
    ledger: Ledger,
    settings: Settings,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
) -> None:
    _weigh(ledger, weighing, gate, event, "rejected")
    forced = event.model_copy(update={"source": "manual", "force": True})
    later = _LaterLedger(client, settings.lease)
    later.happens = lambda: _weigh(ledger, weighing, gate, forced, "promoted")
    told: list[Weighing] = []
    (record,) = wait_for(later, Enqueued(forced, [weighing]), told.append)
    assert (record.state, record.event) == ("promoted", forced)
    assert told == [record]


@pytest.mark.parametrize("force", [False, True])
def test_without_a_worker_the_wait_ends_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
    ledger: Ledger,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
    force: bool,
) -> None:
    monkeypatch.setattr("producers.enqueue._DISPATCHED_WITHIN", 0.01)
    if force:  # only an old verdict is there
        _weigh(ledger, weighing, gate, event, "rejected")
    enqueued = Enqueued(event.model_copy(update={"source": "manual", "force": force}), [weighing])
    with pytest.raises(PlatformError, match=rf"No worker opened {weighing} within 0\.01 s"):
        wait_for(ledger, enqueued, lambda record: None)


def test_force_that_a_running_weighing_absorbs_is_answered_by_its_verdict(
    monkeypatch: pytest.MonkeyPatch,
    client: redis.Redis,
    settings: Settings,
    weighing: WeighingId,
    gate: Gate,
    event: ModelVersionEvent,
) -> None:
    monkeypatch.setattr("producers.enqueue._DISPATCHED_WITHIN", 0.01)
    later = _LaterLedger(client, settings.lease)
    later.open(weighing, gate, event)
    token = later.claim(weighing)
    assert token is not None
    verdict = Verdict(weighing=weighing, source="webhook", outcome="promoted", reason="because")
    later.happens = lambda: later.end(verdict, token)
    forced = event.model_copy(update={"source": "manual", "force": True})
    (record,) = wait_for(later, Enqueued(forced, [weighing]), lambda record: None)
    assert record.state == "promoted"
