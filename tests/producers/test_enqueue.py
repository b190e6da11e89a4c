import os
import subprocess
import sys
from collections.abc import Callable
from uuid import uuid4

import pytest
import redis
import yaml

from bus.celery_app import EVENTS_QUEUE, queue_length
from bus.inbox import Inbox
from bus.ledger import Ledger
from producers.enqueue import enqueue
from producers.waiting import NotEndedError
from schemas.errors import ConfigurationError
from schemas.events import WeighingId
from schemas.gates import Gate, GateFile
from schemas.refs import ArtifactRef
from schemas.settings import Settings

_REGISTRY = "wandb32/wandb-registry-RAG Chat Models"


@pytest.fixture
def collection() -> str:
    return f"collection {uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def environment(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, gate: Gate, client: redis.Redis
) -> None:
    """A script's environment: a gate file and an empty Redis."""
    text = yaml.safe_dump(GateFile(gates=(gate,)).model_dump(mode="json"))
    settings.gates_path.write_text(text)
    monkeypatch.setenv("CELERY_BROKER_URL", settings.broker_url)
    monkeypatch.setenv("WEIGHBRIDGE_GATES", str(settings.gates_path))


def test_a_version_is_put_on_the_bus_under_every_gate_that_watches_it(
    client: redis.Redis, inbox: Inbox, link: Callable[..., str], collection: str
) -> None:
    linked = link("one", collection)
    enqueued = enqueue(linked.replace(":v0", ":latest"))
    assert list(map(str, enqueued.weighings)) == [f"climate-rag/{linked}"]
    assert inbox.waiting() == [event.id for event in enqueued.events]
    assert queue_length(client, EVENTS_QUEUE) == 1


def test_a_version_is_enqueued_once_but_with_force_each_time(
    client: redis.Redis, link: Callable[..., str], collection: str
) -> None:
    linked = link("one", collection)
    twice = enqueue(linked, linked.replace(":v0", ":latest"))
    assert (len(twice.events), len(twice.weighings)) == (1, 1)
    enqueue(linked)
    assert queue_length(client, EVENTS_QUEUE) == 1
    for _ in range(2):
        enqueue(linked, force=True)
    assert queue_length(client, EVENTS_QUEUE) == 3


@pytest.mark.parametrize(
    ("ref", "name", "message"),
    [
        (f"{_REGISTRY}/none:v0", None, "could not read version"),
        (f"{_REGISTRY}/none*:v*", None, "No version that a gate watches matches"),
        ("wandb32/wandb-registry-Nobody Made It/c:*", None, "there is no such registry"),
        ("wandb32/wandb-registry-Other/c:v0", None, "No gate watches"),
        (f"{_REGISTRY}/c:v0", "other", "no gate 'other'"),
    ],
)
def test_what_cannot_be_weighed_is_refused_and_nothing_is_enqueued(
    client: redis.Redis,
    link: Callable[..., str],
    collection: str,
    ref: str,
    name: str | None,
    message: str,
) -> None:
    linked = link("one", collection)
    with pytest.raises(ConfigurationError, match=message):
        enqueue(linked, ref, gate=name)
    assert queue_length(client, EVENTS_QUEUE) == 0


@pytest.fixture
def four(link: Callable[..., str], collection: str) -> list[str]:
    """Versions in two collections."""
    names = [f"{collection} {which}" for which in "aabb"]
    return [link(str(number), name) for number, name in enumerate(names)]


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("{} *:v*", [0, 1, 2, 3]),
        ("{} a:*", [0, 1]),
        ("{} ?:v0", [0, 2]),
        ("{} *:latest", [1, 3]),
        ("{} *", [1, 3]),
    ],
)
def test_a_pattern_selects_all_matching_versions_the_newest_of_a_collection_last(
    four: list[str], collection: str, pattern: str, meant: list[int]
) -> None:
    events = enqueue(f"{_REGISTRY}/{pattern.format(collection)}").events
    # W&B reports times in seconds, so the order across collections is not certain.
    found = sorted((event.ref for event in events), key=lambda ref: ref.collection)
    assert [str(ref) for ref in found] == [four[number] for number in meant]


def test_with_a_gate_a_pattern_also_selects_unwatched_versions(
    settings: Settings, gate: Gate, four: list[str], collection: str
) -> None:
    narrow = gate.model_copy(update={"watch": (f"{_REGISTRY}/{collection} a",)})
    text = yaml.safe_dump(GateFile(gates=(narrow,)).model_dump(mode="json"))
    settings.gates_path.write_text(text)
    pattern = f"{_REGISTRY}/{collection} *:v*"
    assert len(enqueue(pattern).weighings) == 2
    assert len(enqueue(pattern, gate="climate-rag").weighings) == 4


def test_the_handle_returns_the_records(
    ledger: Ledger, gate: Gate, link: Callable[..., str], collection: str
) -> None:
    enqueued = enqueue(link("one", collection))
    assert enqueued.results() == []
    [weighing], [event] = enqueued.weighings, enqueued.events
    ledger.open(weighing, gate, event)
    assert [record.state for record in enqueued.results()] == ["queued"]
    with pytest.raises(NotEndedError, match=str(weighing)):
        enqueued.wait(timeout=0)


_SCRIPT = """
import sys
from weighbridge import enqueue

enqueued = enqueue(sys.argv[1])
print(*enqueued.weighings)
sys.exit(f"{ {'torch', 'weave', 'transformers'} & sys.modules.keys() or ''}")
"""


def test_a_script_enqueues_without_the_heavy_packages(
    inbox: Inbox, link: Callable[..., str], collection: str
) -> None:
    linked = link("one", collection)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, linked],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    version = ArtifactRef.parse(linked)
    assert done.stdout == f"{WeighingId.of('climate-rag', version)}\n"
    assert done.stderr == "\n"
    assert len(inbox.waiting()) == 1
