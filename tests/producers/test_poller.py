"""What a scan publishes, with the local W&B and a real Redis."""

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
Scan = Callable[..., list[str]]


@pytest.fixture
def collection() -> str:
    return f"collection {uuid4().hex[:8]}"


@pytest.fixture
def mine(gate: Gate, collection: str) -> Gate:
    """A gate that watches a collection for this test only."""
    return gate.model_copy(update={"watch": (f"{_WATCHED}/{collection}",)})


@pytest.fixture
def push(link: Callable[..., str], collection: str) -> Link:
    return lambda text: ArtifactRef.parse(link(f"{text} {uuid4()}", collection))


@pytest.fixture
def scan(bus: Bus, settings: Settings, mine: Gate) -> Scan:
    """Starts a poller and returns what it publishes."""

    def once(*gates: Gate, **changes: object) -> list[str]:
        _write(settings, *(gates or (mine,)))
        with_changes = settings.model_copy(update=changes)
        return [str(one.version) for one in poll_once(replace(bus, settings=with_changes))]

    return once


@pytest.fixture
def running(bus: Bus, settings: Settings, mine: Gate) -> Callable[..., Iterator[list[str]]]:
    """Makes a poller; each `next` is one scan."""

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
    settings.__dict__.pop("gates", None)  # so that a new poller reads it again


def _first_seen_in_an_hour(client: redis.Redis, gate: Gate) -> None:
    """Make every existing version older than the gate."""
    later = datetime.now(UTC) + timedelta(hours=1)
    client.hset("weighbridge:gates:born", f"{gate.name} {_WATCHED}", later.isoformat())


def _weigh(ledger: Ledger, gate: Gate, version: ArtifactRef) -> None:
    event = ModelVersionEvent(ref=version, source="webhook")
    ledger.open(WeighingId.of(gate.name, version), gate, event)


def _tag(gate: Gate, version: ArtifactRef) -> None:
    tag_version(wandb.Api(), WeighingId.of(gate.name, version), "rejected")


def test_versions_that_are_not_in_the_ledger_are_published_once(
    push: Link, scan: Scan, client: redis.Redis
) -> None:
    linked = {str(push(text)) for text in ("one", "two")}
    assert set(scan()) == linked
    assert scan() == []
    assert queue_length(client, EVENTS_QUEUE) == 2


def test_an_event_has_source_version_and_gate(
    push: Link, scan: Scan, inbox: Inbox, mine: Gate
) -> None:
    version = push("one")
    scan()
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


def test_a_version_in_the_ledger_is_not_published(
    push: Link, scan: Scan, ledger: Ledger, mine: Gate, client: redis.Redis
) -> None:
    _weigh(ledger, mine, push("one"))
    assert scan() == []
    assert queue_length(client, EVENTS_QUEUE) == 0


def test_each_gate_has_its_own_weighing(push: Link, scan: Scan, ledger: Ledger, mine: Gate) -> None:
    version = push("one")
    _weigh(ledger, mine, version)
    assert scan(mine, mine.model_copy(update={"name": "other"})) == [str(version)]


def test_a_scan_finds_versions_linked_since_the_last_scan(
    push: Link, running: Callable[..., Iterator[list[str]]]
) -> None:
    scans = running()
    first = push("one")
    assert next(scans) == [str(first)]
    assert next(scans) == []
    second = push("two")
    assert next(scans) == [str(second)]


def test_only_a_full_scan_finds_an_old_artifact_that_is_linked_now(
    push: Link,
    running: Callable[..., Iterator[list[str]]],
    client: redis.Redis,
    collection: str,
    mine: Gate,
) -> None:
    other = f"{_WATCHED}/{collection} other"
    artifact = wandb.Api().artifact(str(push("one")))
    scans = running(mine.model_copy(update={"watch": (f"{_WATCHED}/{collection}*",)}))
    next(scans)
    client.set(f"weighbridge:poller:{_WATCHED}", _in_an_hour(), keepttl=True)
    artifact.link(other)
    assert next(scans) == []
    client.delete(f"weighbridge:poller:{_WATCHED}")  # as it expires after the interval
    assert next(scans) == [f"{other}:v0"]


def _in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def test_the_cursor_expires_in_time_for_a_full_scan(
    push: Link, running: Callable[..., Iterator[list[str]]], client: redis.Redis
) -> None:
    scans = running(full_scan_interval=1000)
    push("one")
    key = f"weighbridge:poller:{_WATCHED}"
    for _ in range(2):
        next(scans)
        assert 0 < client.ttl(key) <= 1000
        client.expire(key, 500)
    next(scans)
    assert client.ttl(key) <= 500


@pytest.mark.parametrize(("backfill", "count"), [("none", 0), ("latest", 1), ("all", 2)])
def test_older_versions_are_published_according_to_the_backfill_setting(
    push: Link, scan: Scan, client: redis.Redis, mine: Gate, backfill: str, count: int
) -> None:
    linked = [str(push(text)) for text in ("one", "two")]
    _first_seen_in_an_hour(client, mine)
    assert set(scan(backfill=backfill)) == set(linked[len(linked) - count :])
    assert scan(backfill=backfill) == []


def test_changing_the_setting_repeats_the_backfill(
    push: Link, scan: Scan, client: redis.Redis, mine: Gate
) -> None:
    linked = [str(push(text)) for text in ("one", "two")]
    _first_seen_in_an_hour(client, mine)
    assert scan(backfill="none") == []
    assert set(scan(backfill="all")) == set(linked)


def test_after_redis_lost_its_data_tagged_versions_are_skipped(
    push: Link, scan: Scan, client: redis.Redis, mine: Gate
) -> None:
    first, second, third = (push(text) for text in ("one", "two", "three"))
    for version in (first, third):
        _tag(mine, version)
    _first_seen_in_an_hour(client, mine)
    assert scan(backfill="none") == [str(second)]


def test_the_tag_of_another_gate_is_ignored(push: Link, scan: Scan, mine: Gate) -> None:
    version = push("one")
    _tag(mine.model_copy(update={"name": "other"}), version)
    assert scan() == [str(version)]


def test_a_tag_from_another_collection_does_not_hide_a_version(
    push: Link, scan: Scan, ledger: Ledger, mine: Gate, collection: str, client: redis.Redis
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
    assert scan(both) == [f"{_WATCHED}/{collection} other:v0"]


def test_a_gate_with_an_alias_takes_a_version_when_it_has_the_alias(
    push: Link, running: Callable[..., Iterator[list[str]]], mine: Gate, inbox: Inbox
) -> None:
    scans = running(mine.model_copy(update={"when_alias": "candidate-*"}))
    version = push("one")
    push("two")
    assert next(scans) == []
    artifact = wandb.Api().artifact(str(version))
    artifact.aliases.append("candidate-1")
    artifact.save()
    assert next(scans) == [str(version)]
    assert next(scans) == []
    (event_id,) = inbox.waiting()
    event = inbox.read(event_id)
    assert event is not None
    assert event.alias == "candidate-1"


def test_a_missing_registry_is_a_configuration_error(scan: Scan, mine: Gate, project: str) -> None:
    astray = mine.model_copy(update={"watch": ("wandb32/wandb-registry-Nowhere/*",)})
    with pytest.raises(ConfigurationError, match="wandb32/wandb-registry-Nowhere"):
        scan(astray)


def test_the_pause_grows_with_an_outage_up_to_a_limit() -> None:
    assert pause(30, 0) == 30
    assert all(30 <= pause(30, 2) <= 120 for _ in range(100))
    assert all(30 <= pause(30, 10_000) <= 600 for _ in range(100))
    assert pause(3600, 5) == 3600
