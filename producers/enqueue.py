"""Enqueue versions by hand, from the command line or a script."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import wandb

from bus.bus import Bus
from bus.ledger import Ledger
from bus.publish import publish
from producers.waiting import OnChange, wait_for
from registry.calls import wandb_api
from registry.changes import LinkedVersion, Registries
from registry.graphql import Graphql
from registry.versions import RegisteredVersion, resolve
from schemas.errors import ConfigurationError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.weighings import WeighingRecord

_WILDCARDS = set("*?[")


class Enqueued:
    """A handle for the weighings of enqueued versions.

    Args:
        ledger: Has the verdicts.
        opened_by: Each weighing, with the event that opens it unless it is open or has ended.
    """

    def __init__(self, ledger: Ledger, opened_by: Mapping[WeighingId, ModelVersionEvent]) -> None:
        self._ledger = ledger
        self._opened_by = dict(opened_by)

    @property
    def events(self) -> list[ModelVersionEvent]:
        """The events that were published, one per version."""
        return list(dict.fromkeys(self._opened_by.values()))

    @property
    def weighings(self) -> list[WeighingId]:
        """The weighings of these events, whether they are new or already known."""
        return list(self._opened_by)

    def results(self) -> list[WeighingRecord]:
        """Return the current records, without weighings that no worker has opened yet."""
        records = [self._ledger.get(weighing) for weighing in self._opened_by]
        return [record for record in records if record is not None]

    def wait(
        self, timeout: float | None = None, on_change: OnChange | None = None
    ) -> list[WeighingRecord]:
        """Wait until every weighing has its verdict, or awaits approval.

        Args:
            timeout: Seconds to wait; None waits indefinitely.
            on_change: Called with each record that changes.

        Returns:
            The records, each with its verdict.

        Raises:
            NotEndedError: The timeout has expired.
            PlatformError: No worker dispatched an event.
        """
        forced = {one: event if event.force else None for one, event in self._opened_by.items()}
        return wait_for(self._ledger, forced, timeout=timeout, on_change=on_change)


def enqueue(*refs: str, gate: str | None = None, force: bool = False) -> Enqueued:
    """Enqueue versions, after checking that each exists and that a gate takes it.

    Args:
        refs: Versions, ``entity/project/collection:version``, by number or alias. With shell
            wildcards in the collection or the version: all matching versions in a registry that a
            gate watches, the oldest first.
        gate: Weigh under this gate only, even if it does not watch the version.
        force: Weigh again even if there is a verdict.

    Raises:
        ConfigurationError: There is no such version or gate, or no gate watches it; nothing was
            enqueued.
        PlatformError: W&B or Redis did not answer.
    """
    settings = Settings()
    events = _events(settings, refs, gate, force=force)
    opened_by: dict[WeighingId, ModelVersionEvent] = {}
    with Bus.open(settings) as bus:
        for event in events:
            gates = settings.gates.matching(event)
            publish(bus, event, gates)
            opened_by |= {WeighingId.of(one.name, event.ref): event for one in gates}
    return Enqueued(bus.ledger, opened_by)  # reconnects when the handle is used


def _events(
    settings: Settings, refs: Iterable[str], gate: str | None, *, force: bool
) -> list[ModelVersionEvent]:
    """Make one event per version, in the order of the references."""
    requested = [_manual(ArtifactRef.parse(text), gate, force=force) for text in refs]
    for event in requested:
        if not _is_pattern(event.ref):
            _require_gate(settings, event)
    api = wandb_api(settings.wandb_timeout)
    versions = {one.ref: one for event in requested for one in _select(api, settings, event)}
    return [
        _manual(version.ref, gate, force=force, artifact_id=version.artifact_id)
        for version in versions.values()
    ]


def _manual(
    ref: ArtifactRef, gate: str | None, *, force: bool, artifact_id: str | None = None
) -> ModelVersionEvent:
    return ModelVersionEvent(
        ref=ref, artifact_id=artifact_id, source="manual", gate=gate, force=force
    )


def _is_pattern(ref: ArtifactRef) -> bool:
    """Whether a reference has shell wildcards."""
    return bool(_WILDCARDS & set(ref.collection + ref.version))


def _select(
    api: wandb.Api, settings: Settings, event: ModelVersionEvent
) -> Sequence[RegisteredVersion]:
    """Return the version of a reference, or the versions matching a pattern that a gate takes."""
    if not _is_pattern(event.ref):
        return [resolve(api, event.ref)]
    graphql = Graphql.from_api(api, settings.wandb_timeout, threading.Event())
    versions = Registries(graphql).versions(event.ref.entity, event.ref.project)
    found = [
        version
        for version in versions
        if _matches(version, event.ref)
        and settings.gates.matching(event.model_copy(update={"ref": version.ref}))
    ]
    if not found:
        raise ConfigurationError(
            f"No version that a gate watches matches {event.ref}.", fix=_watched(settings)
        )
    # The newest version is weighed last, so that it is the champion in the end.
    return sorted(found, key=lambda version: (version.linked_at, version.ref.number))


def _matches(version: LinkedVersion, pattern: ArtifactRef) -> bool:
    names = {version.ref.version, *version.aliases}
    return fnmatchcase(version.ref.collection, pattern.collection) and any(
        fnmatchcase(name, pattern.version) for name in names
    )


def _require_gate(settings: Settings, event: ModelVersionEvent) -> None:
    if not settings.gates.matching(event):
        raise ConfigurationError(
            f"No gate watches {event.ref.collection_path}.", fix=_watched(settings)
        )


def _watched(settings: Settings) -> str:
    watched = ", ".join(pattern for gate in settings.gates.gates for pattern in gate.watch)
    return f"The gate file watches {watched}; name a gate with --gate to weigh it anyway."
