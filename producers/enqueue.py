"""Enqueue by hand: from the command line, or from a script."""

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
    """What was put on the bus: a handle for a script.

    Args:
        ledger: has the verdicts.
        opened_by: each weighing, with the event that opens it unless it is open or ended already.
    """

    def __init__(self, ledger: Ledger, opened_by: Mapping[WeighingId, ModelVersionEvent]) -> None:
        self._ledger = ledger
        self._opened_by = dict(opened_by)

    @property
    def events(self) -> list[ModelVersionEvent]:
        """The events as they were published, one for each version."""
        return list(dict.fromkeys(self._opened_by.values()))

    @property
    def weighings(self) -> list[WeighingId]:
        """The weighings that they open, or that are open or ended already."""
        return list(self._opened_by)

    def results(self) -> list[WeighingRecord]:
        """Where each weighing stands now; one that no worker has opened yet is left out."""
        records = [self._ledger.get(weighing) for weighing in self._opened_by]
        return [record for record in records if record is not None]

    def wait(
        self, timeout: float | None = None, on_change: OnChange | None = None
    ) -> list[WeighingRecord]:
        """Wait until every weighing has its verdict, or awaits approval.

        Args:
            timeout: seconds; None waits for as long as it takes.
            on_change: hears of every change.

        Returns:
            The records, each with its verdict.

        Raises:
            NotEndedError: the time is over.
            PlatformError: no worker dispatched an event.
        """
        forced = {one: event if event.force else None for one, event in self._opened_by.items()}
        return wait_for(self._ledger, forced, timeout=timeout, on_change=on_change)


def enqueue(*refs: str, gate: str | None = None, force: bool = False) -> Enqueued:
    """Put versions on the bus, after checking that each exists and that a gate will weigh it.

    Args:
        refs: versions, `entity/project/collection:version`, by number or alias. Shell wildcards in
            the collection or the version take all versions in a registry that match and that a
            gate watches, the oldest first.
        gate: weigh under this gate only, whatever it watches.
        force: weigh again although there is a verdict.

    Raises:
        ConfigurationError: there is no such version or gate, or no gate watches it; nothing was
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
    return Enqueued(bus.ledger, opened_by)


def _events(
    settings: Settings, refs: Iterable[str], gate: str | None, *, force: bool
) -> list[ModelVersionEvent]:
    """One event for each version that is meant, in the order of the references."""
    asked = [_manual(ArtifactRef.parse(text), gate, force=force) for text in refs]
    for event in asked:
        if not _is_pattern(event.ref):
            _require_taken(settings, event)
    api = wandb_api(settings.wandb_timeout)
    versions = {one.ref: one for event in asked for one in _meant(api, settings, event)}
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
    """Whether a reference holds shell wildcards, and so may mean several versions."""
    return bool(_WILDCARDS & set(ref.collection + ref.version))


def _meant(
    api: wandb.Api, settings: Settings, event: ModelVersionEvent
) -> Sequence[RegisteredVersion]:
    """The versions that a reference stands for; of a pattern, those that a gate takes."""
    if not _is_pattern(event.ref):
        return [resolve(api, event.ref)]
    graphql = Graphql.like(api, settings.wandb_timeout, threading.Event())
    known = Registries(graphql).versions(event.ref.entity, event.ref.project)
    found = [
        version
        for version in known
        if _matches(version, event.ref)
        and settings.gates.matching(event.model_copy(update={"ref": version.ref}))
    ]
    if not found:
        raise ConfigurationError(
            f"No version that a gate watches matches {event.ref}.", fix=_watched(settings)
        )
    # The newest is weighed last, so that it ends as the champion.
    return sorted(found, key=lambda version: (version.linked_at, version.ref.number))


def _matches(version: LinkedVersion, pattern: ArtifactRef) -> bool:
    names = {version.ref.version, *version.aliases}
    return fnmatchcase(version.ref.collection, pattern.collection) and any(
        fnmatchcase(name, pattern.version) for name in names
    )


def _require_taken(settings: Settings, event: ModelVersionEvent) -> None:
    if not settings.gates.matching(event):
        raise ConfigurationError(
            f"No gate watches {event.ref.collection_path}.", fix=_watched(settings)
        )


def _watched(settings: Settings) -> str:
    watched = ", ".join(pattern for gate in settings.gates.gates for pattern in gate.watch)
    return f"The gate file watches {watched}; name a gate with --gate to weigh it anyway."
