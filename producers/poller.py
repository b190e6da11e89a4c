"""The poller: compares the Registry with the ledger, and finds what the webhook missed.

A scan reads what changed in a registry since the last scan, as far as W&B can filter for it
(registry/changes.py). The first scan of a process is a full scan, and so is one every
`full_scan_interval` seconds.
"""

import random
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import redis
import structlog

from bus.backoff import exponential_backoff
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

_LONGEST_PAUSE = 600.0  # seconds between two scans during an outage


class WatchedRegistry(NamedTuple):
    """A registry that gates watch.

    Attributes:
        organization: The organization that owns it.
        name: Its full name, with the prefix.
    """

    organization: str
    name: str

    def __str__(self) -> str:
        return f"{self.organization}/{self.name}"


class Poller:
    """Scans the registries that the gates watch; several pollers may run.

    Args:
        bus: Takes the events.
        stop: Ends any wait for W&B when set.

    Attributes:
        graphql: The client for W&B.
        watched: The gates that watch each registry.

    Raises:
        ConfigurationError: The gate file has an error, or there is no API key.
        PlatformError: W&B did not answer.
    """

    def __init__(self, bus: Bus, stop: threading.Event) -> None:
        settings = bus.settings
        self._bus = bus
        self._backfill = settings.backfill
        self._kept_for = timedelta(days=settings.keep_days)
        self._cursor = PollCursor(bus.client, settings.full_scan_interval)
        self._fully_scanned: set[WatchedRegistry] = set()
        self.watched = _watched(settings.gates)
        timeout = settings.wandb_timeout
        self.graphql = Graphql.from_api(wandb_api(timeout), timeout, stop)
        self._registries = Registries(self.graphql)

    def scan(self, registry: WatchedRegistry) -> list[WeighingId]:
        """Publish a registry's new versions: neither in the ledger nor tagged with a verdict.

        Returns:
            The weighings that were published.

        Raises:
            ConfigurationError: The registry does not exist, or the API key is refused.
            PlatformError: W&B did not answer, or Redis did not accept an event.
        """
        gates = self.watched[registry]
        first_seen = [self._cursor.first_seen(gate.name, str(registry)) for gate in gates]
        since = self._cursor.since(str(registry)) if registry in self._fully_scanned else None
        versions = self._registries.versions(*registry, since)
        published = [
            weighing
            for gate, seen in zip(gates, first_seen, strict=True)
            for weighing in self._scan_gate(gate, registry, versions, seen, is_full=not since)
        ]
        if versions:
            newest = max(version.changed_at for version in versions)
            self._cursor.advance(str(registry), newest, is_full=not since)
        self._fully_scanned.add(registry)
        return published

    def _scan_gate(
        self,
        gate: Gate,
        registry: WatchedRegistry,
        versions: Sequence[LinkedVersion],
        first_seen: datetime,
        *,
        is_full: bool,
    ) -> list[WeighingId]:
        watched = [one for one in versions if gate.watches(one.ref.collection_path)]
        wanted = new_versions(gate, watched, first_seen - OVERLAP)
        if not is_full:
            return self._publish_new(gate, wanted, first_seen)
        older = self._older(gate, registry, watched, first_seen - OVERLAP)
        published = self._publish_new(gate, [*wanted, *older], first_seen)
        self._cursor.mark_backfilled(gate.name, str(registry), self._backfill)
        return published

    def _older(
        self,
        gate: Gate,
        registry: WatchedRegistry,
        versions: Sequence[LinkedVersion],
        first_seen: datetime,
    ) -> list[LinkedVersion]:
        """Versions older than the gate that need weighing; none if this backfill is done."""
        last_backfill = self._cursor.backfilled(gate.name, str(registry))
        if last_backfill == self._backfill:
            return []
        older = backfilled_versions(gate, versions, first_seen, self._backfill)
        return older if last_backfill else [*older, *forgotten_versions(gate, versions, first_seen)]

    def _publish_new(
        self, gate: Gate, versions: Sequence[LinkedVersion], first_seen: datetime
    ) -> list[WeighingId]:
        candidates = {
            WeighingId.of(gate.name, version.ref): version
            for version in versions
            if not self._is_tagged(gate, version, first_seen)
        }
        unknown = self._bus.ledger.unknown(list(candidates))
        return [one for one in unknown if self._publish(gate, candidates[one])]

    def _is_tagged(self, gate: Gate, version: LinkedVersion, first_seen: datetime) -> bool:
        """Whether a tag says that the version has a verdict that the ledger no longer has.

        Newer versions are in the ledger when they have a verdict. A tag on such a version may come
        from another collection with the same artifact.
        """
        is_forgotten = version.linked_at < max(first_seen, datetime.now(UTC) - self._kept_for)
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
    """Run one full scan.

    Returns:
        The weighings that were published.

    Raises:
        ConfigurationError: The gate file has an error, a watched registry does not exist, or the
            API key is missing or refused.
        PlatformError: W&B or Redis did not answer.
    """
    poller = Poller(bus, threading.Event())
    return [weighing for registry in poller.watched for weighing in poller.scan(registry)]


def poll(bus: Bus, stop: threading.Event) -> None:
    """Scan the Registry every ``poll_interval`` seconds until ``stop`` is set.

    A failed scan is logged and retried, less and less often during an outage; it does not affect
    the other registries.

    Raises:
        ConfigurationError: The gate file has an error, or there is no API key.
    """
    poller, outages = None, 0
    while not stop.is_set():
        try:
            poller = poller or Poller(bus, stop)
            answered = [_try_scan(poller, registry) for registry in poller.watched]
        except PlatformError as error:
            answered = [False]
            log.warning("scan failed", reason=str(error))
        outages = 0 if all(answered) else outages + 1
        stop.wait(pause(bus.settings.poll_interval, outages))


def _try_scan(poller: Poller, registry: WatchedRegistry) -> bool:
    """Scan a registry; False if W&B or Redis did not answer."""
    try:
        poller.scan(registry)
    except (WeighbridgeError, redis.RedisError) as error:
        log.warning("scan failed", registry=str(registry), reason=str(error))
        return isinstance(error, ConfigurationError)
    return True


def pause(interval: float, outages: int) -> float:
    """Seconds until the next scan.

    After a failed scan it is random, so that pollers do not all return at the same time, up to a
    limit that doubles with each failure in a row.

    Args:
        interval: Seconds between two scans without failures.
        outages: Scans in a row that got no answer.
    """
    longest = max(interval, exponential_backoff(interval, outages, limit=_LONGEST_PAUSE))
    return random.uniform(interval, longest)  # noqa: S311 (no secret)


def _watched(gates: GateFile) -> dict[WatchedRegistry, list[Gate]]:
    watched: dict[WatchedRegistry, list[Gate]] = {}
    for gate in gates.gates:
        refs = [ArtifactRef.parse(pattern) for pattern in gate.watch]
        for registry in dict.fromkeys(WatchedRegistry(ref.entity, ref.project) for ref in refs):
            watched.setdefault(registry, []).append(gate)
    return watched
