"""The poller: compares the Registry with the ledger. The webhook is a hint, this is the truth.

A look reads what changed in a registry since the look before (registry/changes.py says what W&B
can tell of that). The first look of a process, and one every `full_scan_interval` seconds, reads
everything.
"""

import random
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import redis
import structlog

from bus.backoff import doubled
from bus.bus import Bus
from bus.publish import publish
from producers.backfill import backfilled_versions, forgotten_versions, matching_alias, new_versions
from producers.poll_cursor import OVERLAP, PollCursor
from registry.calls import wandb_api
from registry.changes import LinkedVersion, Registries
from registry.graphql import Graphql
from registry.tags import verdict_tags
from schemas.errors import ConfigurationError, PlatformError, WeighbridgeError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, GateFile
from schemas.refs import ArtifactRef

log = structlog.get_logger()

_LONGEST_PAUSE = 600.0  # seconds between two looks during an outage


class WatchedRegistry(NamedTuple):
    """A registry that gates watch.

    Attributes:
        organization: that owns it.
        name: in full, with the prefix.
    """

    organization: str
    name: str

    def __str__(self) -> str:
        return f"{self.organization}/{self.name}"


class Poller:
    """Looks at the registries that the gates watch. Several may run: an event counts once.

    Args:
        stop: ends a wait for W&B.

    Attributes:
        graphql: asks W&B.
        watched: the gates that watch each registry.

    Raises:
        ConfigurationError: the gate file has a fault, or there is no API key.
        PlatformError: W&B did not answer.
    """

    def __init__(self, bus: Bus, stop: threading.Event) -> None:
        settings = bus.settings
        self._bus = bus
        self._backfill = settings.backfill
        self._memory = timedelta(days=settings.keep_days)
        self._cursor = PollCursor(bus.client, settings.full_scan_interval)
        self._read_whole: set[WatchedRegistry] = set()
        self.watched = _watched(settings.gates)
        timeout = settings.wandb_timeout
        self.graphql = Graphql.like(wandb_api(timeout), timeout, stop)
        self._registries = Registries(self.graphql)

    def scan(self, registry: WatchedRegistry) -> list[WeighingId]:
        """Publish what is to be weighed in a registry and is neither in the ledger nor tagged.

        Returns:
            What was published.

        Raises:
            ConfigurationError: there is no such registry, or the key is refused.
            PlatformError: W&B did not answer, or Redis did not take an event.
        """
        gates = self.watched[registry]
        first_seen = [self._cursor.first_seen(gate.name, str(registry)) for gate in gates]
        since = self._cursor.since(str(registry)) if registry in self._read_whole else None
        versions = self._registries.versions(*registry, since)
        published = [
            weighing
            for gate, birth in zip(gates, first_seen, strict=True)
            for weighing in self._scan_gate(gate, registry, versions, birth, is_whole=not since)
        ]
        if versions:
            newest = max(version.changed_at for version in versions)
            self._cursor.advance(str(registry), newest, is_whole=not since)
        self._read_whole.add(registry)
        return published

    def _scan_gate(
        self,
        gate: Gate,
        registry: WatchedRegistry,
        versions: Sequence[LinkedVersion],
        first_seen: datetime,
        *,
        is_whole: bool,
    ) -> list[WeighingId]:
        watched = [one for one in versions if gate.watches(one.ref.collection_path)]
        wanted = new_versions(gate, watched, first_seen - OVERLAP)
        if not is_whole:
            return self._publish_undone(gate, wanted, first_seen)
        older = self._older(gate, registry, watched, first_seen - OVERLAP)
        published = self._publish_undone(gate, [*wanted, *older], first_seen)
        self._cursor.mark_backfilled(gate.name, str(registry), self._backfill)
        return published

    def _older(
        self,
        gate: Gate,
        registry: WatchedRegistry,
        versions: Sequence[LinkedVersion],
        first_seen: datetime,
    ) -> list[LinkedVersion]:
        """What is older than the gate and to be weighed: told once for each way to backfill."""
        before = self._cursor.backfilled(gate.name, str(registry))
        if before == self._backfill:
            return []
        older = backfilled_versions(gate, versions, first_seen, self._backfill)
        return older if before else [*older, *forgotten_versions(gate, versions, first_seen)]

    def _publish_undone(
        self, gate: Gate, versions: Sequence[LinkedVersion], first_seen: datetime
    ) -> list[WeighingId]:
        undone = {
            WeighingId.of(gate.name, version.ref): version
            for version in versions
            if not self._is_tagged(gate, version, first_seen)
        }
        unknown = self._bus.ledger.unknown(list(undone))
        return [one for one in unknown if self._publish(gate, undone[one])]

    def _is_tagged(self, gate: Gate, version: LinkedVersion, first_seen: datetime) -> bool:
        """Whether a tag says that the version is done, of which the ledger cannot know.

        What is linked while the ledger remembers is in the ledger when it is done; a tag on it may
        come from another collection that holds the same artifact.
        """
        is_forgotten = version.linked_at < max(first_seen, datetime.now(UTC) - self._memory)
        return is_forgotten and bool(version.tags & verdict_tags(gate.name))

    def _publish(self, gate: Gate, version: LinkedVersion) -> bool:
        event = ModelVersionEvent(
            ref=version.ref,
            artifact_id=version.artifact_id,
            source="poller",
            alias=matching_alias(gate, version),
            gate=gate.name,
        )
        is_new = publish(self._bus, event, [gate])
        if is_new:
            log.info("the poller found a version", version=str(version.ref), gate=gate.name)
        return is_new


def poll_once(bus: Bus) -> list[WeighingId]:
    """Look at everything once.

    Returns:
        What was published.

    Raises:
        ConfigurationError: the gate file has a fault, a watched registry does not exist, or the
            key is missing or refused.
        PlatformError: W&B or Redis did not answer.
    """
    poller = Poller(bus, threading.Event())
    return [weighing for registry in poller.watched for weighing in poller.scan(registry)]


def poll(bus: Bus, stop: threading.Event) -> None:
    """Look at the Registry every `poll_interval` seconds until told to stop.

    What cannot be looked at is logged and tried again, during an outage less and less often; the
    other registries are looked at all the same.

    Raises:
        ConfigurationError: the gate file has a fault, or there is no API key.
    """
    poller, outages = None, 0
    while not stop.is_set():
        try:
            poller = poller or Poller(bus, stop)
            answered = [_is_answered(poller, registry) for registry in poller.watched]
        except PlatformError as error:
            answered = [False]
            log.warning("the poller could not look", reason=str(error))
        outages = 0 if all(answered) else outages + 1
        stop.wait(pause(bus.settings.poll_interval, outages))


def _is_answered(poller: Poller, registry: WatchedRegistry) -> bool:
    """Look at a registry; False when W&B or Redis did not answer."""
    try:
        poller.scan(registry)
    except (WeighbridgeError, redis.RedisError) as error:
        log.warning("the poller could not look", registry=str(registry), reason=str(error))
        return isinstance(error, ConfigurationError)
    return True


def pause(interval: float, outages: int) -> float:
    """Seconds until the next look.

    After an outage it is a random time, so that pollers do not come back together, up to a limit
    that doubles with each outage in a row.

    Args:
        interval: seconds between two looks when all is well.
        outages: looks in a row that got no answer.
    """
    longest = max(interval, doubled(interval, outages, at_most=_LONGEST_PAUSE))
    return random.uniform(interval, longest)  # noqa: S311 (no secret)


def _watched(gates: GateFile) -> dict[WatchedRegistry, list[Gate]]:
    watched: dict[WatchedRegistry, list[Gate]] = {}
    for gate in gates.gates:
        refs = [ArtifactRef.parse(pattern) for pattern in gate.watch]
        for registry in dict.fromkeys(WatchedRegistry(ref.entity, ref.project) for ref in refs):
            watched.setdefault(registry, []).append(gate)
    return watched
