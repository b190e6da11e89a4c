"""What a look at the Registry publishes: against the local W&B and a real Redis."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import redis
import wandb
import yaml

from bus.bus import Bus
from bus.celery_app import EVENTS_QUEUE, queue_length
from bus.inbox import Inbox
from bus.ledger import Ledger
from producers.poller import Poller, pause, poll_once
from schemas.errors import ConfigurationError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, GateFile
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from worker.publishing import tag_version

_WATCHED = "wandb32/wandb-registry-RAG Chat Models"

Link = Callable[[str], ArtifactRef]
Look = Callable[..., list[str]]


@pytest.fixture
def collection() -> str:
    return f"collection {uuid4().hex[:8]}"


@pytest.fixture
def mine(gate: Gate, collection: str) -> Gate:
    """Watches a collection that only this test uses."""
    return gate.model_copy(update={"watch": (f"{_WATCHED}/{collection}",)})


@pytest.fixture
def push(link: Callable[..., str], collection: str) -> Link:
    return lambda text: ArtifactRef.parse(link(f"{text} {uuid4()}", collection))


@pytest.fixture
def look(bus: Bus, settings: Settings, mine: Gate) -> Look:
    """What a poller that has just been started publishes."""

    def once(*gates: Gate, **changes: object) -> list[str]:
        _write(settings, *(gates or (mine,)))
        with_changes = settings.model_copy(update=changes)
        return [str(one.version) for one in poll_once(replace(bus, settings=with_changes))]

    return once


@pytest.fixture
def running(bus: Bus, settings: Settings, mine: Gate) -> Callable[..., Iterator[list[str]]]:
    """Makes a poller; each `next` is a look of it."""

    def start(gate: Gate = mine, **changes: object) -> Iterator[list[str]]:
        _write(settings, gate)
        with_changes = settings.model_copy(update=changes)
        poller = Poller(replace(bus, settings=with_changes), threading.Event())
        (registry,) = poller.watched
        while True:
            yield [str(one.version) for one in poller.scan(registry)]

    return start


def _write(settings: Settings, *gates: Gate) -> None:
    document = GateFile(gates=gates).model_dump(mode="json", exclude_none=True)
    settings.gates_path.write_text(yaml.safe_dump(document))
    settings.__dict__.pop("gates", None)  # read once; a poller that is started reads it again


def _born_in_an_hour(client: redis.Redis, gate: Gate) -> None:
    """Every version that there is becomes older than the gate."""
    later = datetime.now(UTC) + timedelta(hours=1)
    client.hset("weighbridge:gates:born", f"{gate.name} {_WATCHED}", later.isoformat())


def _weigh(ledger: Ledger, gate: Gate, version: ArtifactRef) -> None:
    event = ModelVersionEvent(ref=version, source="webhook")
    ledger.open(WeighingId.of(gate.name, version), gate, event)


def _tag(gate: Gate, version: ArtifactRef) -> None:
    tag_version(wandb.Api(), WeighingId.of(gate.name, version), "rejected")


def test_versions_that_the_ledger_does_not_know_are_published_once(
    push: Link, look: Look, client: redis.Redis
) -> None:
    linked = {str(push(text)) for text in ("one", "two")}
    assert set(look()) == linked
    assert look() == []
    assert queue_length(client, EVENTS_QUEUE) == 2


def test_an_event_says_who_found_what_for_which_gate(
    push: Link, look: Look, inbox: Inbox, mine: Gate
) -> None:
    version = push("one")
    look()
    (event_id,) = inbox.waiting()
    event = inbox.read(event_id)
    assert event is not None
    assert (event.ref, event.source, event.gate, event.alias) == (
        version,
        "poller",
        mine.name,
        None,
    )
    assert event.artifact_id == wandb.Api().artifact(str(version)).id


def test_a_version_that_the_ledger_knows_is_left_alone(
    push: Link, look: Look, ledger: Ledger, mine: Gate, client: redis.Redis
) -> None:
    _weigh(ledger, mine, push("one"))
    assert look() == []
    assert queue_length(client, EVENTS_QUEUE) == 0


def test_each_gate_weighs_for_itself(push: Link, look: Look, ledger: Ledger, mine: Gate) -> None:
    version = push("one")
    _weigh(ledger, mine, version)
    assert look(mine, mine.model_copy(update={"name": "other"})) == [str(version)]


def test_a_look_at_the_changes_finds_what_was_linked_since(
    push: Link, running: Callable[..., Iterator[list[str]]]
) -> None:
    looks = running()
    first = push("one")
    assert next(looks) == [str(first)]
    assert next(looks) == []
    second = push("two")
    assert next(looks) == [str(second)]


def test_an_old_artifact_that_is_linked_now_is_found_by_the_next_full_scan(
    push: Link,
    running: Callable[..., Iterator[list[str]]],
    client: redis.Redis,
    collection: str,
    mine: Gate,
) -> None:
    other = f"{_WATCHED}/{collection} other"
    artifact = wandb.Api().artifact(str(push("one")))
    looks = running(mine.model_copy(update={"watch": (f"{_WATCHED}/{collection}*",)}))
    next(looks)
    client.set(f"weighbridge:poller:{_WATCHED}", _in_an_hour(), keepttl=True)
    artifact.link(other)
    assert next(looks) == []
    client.delete(f"weighbridge:poller:{_WATCHED}")  # as it goes by itself after the interval
    assert next(looks) == [f"{other}:v0"]


def _in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def test_how_far_a_registry_was_read_is_forgotten_in_time_for_a_full_scan(
    push: Link, running: Callable[..., Iterator[list[str]]], client: redis.Redis
) -> None:
    looks = running(full_scan_interval=1000)
    push("one")
    key = f"weighbridge:poller:{_WATCHED}"
    for _ in range(2):
        next(looks)
        assert 0 < client.ttl(key) <= 1000
        client.expire(key, 500)
    next(looks)
    assert client.ttl(key) <= 500


@pytest.mark.parametrize(("backfill", "count"), [("none", 0), ("latest", 1), ("all", 2)])
def test_what_is_older_than_the_gate_is_weighed_as_the_setting_says(
    push: Link, look: Look, client: redis.Redis, mine: Gate, backfill: str, count: int
) -> None:
    linked = [str(push(text)) for text in ("one", "two")]
    _born_in_an_hour(client, mine)
    assert set(look(backfill=backfill)) == set(linked[len(linked) - count :])
    assert look(backfill=backfill) == []


def test_another_setting_looks_back_again(
    push: Link, look: Look, client: redis.Redis, mine: Gate
) -> None:
    linked = [str(push(text)) for text in ("one", "two")]
    _born_in_an_hour(client, mine)
    assert look(backfill="none") == []
    assert set(look(backfill="all")) == set(linked)


def test_after_redis_was_emptied_a_tag_tells_what_was_weighed(
    push: Link, look: Look, client: redis.Redis, mine: Gate
) -> None:
    first, second, third = (push(text) for text in ("one", "two", "three"))
    for version in (first, third):
        _tag(mine, version)
    _born_in_an_hour(client, mine)
    assert look(backfill="none") == [str(second)]


def test_the_tag_of_another_gate_tells_nothing(push: Link, look: Look, mine: Gate) -> None:
    version = push("one")
    _tag(mine.model_copy(update={"name": "other"}), version)
    assert look() == [str(version)]


def test_a_tag_that_came_with_another_collection_does_not_hide_a_version(
    push: Link, look: Look, ledger: Ledger, mine: Gate, collection: str, client: redis.Redis
) -> None:
    weighed = push("one")
    _weigh(ledger, mine, weighed)
    _tag(mine, weighed)
    client.hset(
        "weighbridge:gates:born",
        f"{mine.name} {_WATCHED}",
        (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
    )
    wandb.Api().artifact(str(weighed)).link(f"{_WATCHED}/{collection} other")
    both = mine.model_copy(update={"watch": (f"{_WATCHED}/{collection}*",)})
    assert look(both) == [f"{_WATCHED}/{collection} other:v0"]


def test_a_gate_with_an_alias_waits_for_it(
    push: Link, running: Callable[..., Iterator[list[str]]], mine: Gate, inbox: Inbox
) -> None:
    looks = running(mine.model_copy(update={"when_alias": "candidate-*"}))
    version = push("one")
    push("two")
    assert next(looks) == []
    artifact = wandb.Api().artifact(str(version))
    artifact.aliases.append("candidate-1")
    artifact.save()
    assert next(looks) == [str(version)]
    assert next(looks) == []
    (event_id,) = inbox.waiting()
    event = inbox.read(event_id)
    assert event is not None
    assert event.alias == "candidate-1"


def test_a_missing_registry_is_named(look: Look, mine: Gate, project: str) -> None:
    astray = mine.model_copy(update={"watch": ("wandb32/wandb-registry-Nowhere/*",)})
    with pytest.raises(ConfigurationError, match="wandb32/wandb-registry-Nowhere"):
        look(astray)


def test_the_pause_grows_with_an_outage_up_to_a_limit() -> None:
    assert pause(30, 0) == 30
    assert all(30 <= pause(30, 2) <= 120 for _ in range(100))
    assert all(30 <= pause(30, 10_000) <= 600 for _ in range(100))
    assert pause(3600, 5) == 3600
