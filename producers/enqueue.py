"""Enqueue by hand: from the command line, or from a script."""

import time
from collections.abc import Callable
from typing import NamedTuple

from celery import Celery

from bus.ledger import Ledger
from bus.publish import publish
from registry.calls import wandb_api
from registry.versions import resolve
from schemas.errors import ConfigurationError, PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, GateFile
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.weighings import Weighing

_DISPATCHED_WITHIN = 60.0  # seconds
_LOOK = 0.5  # seconds between two looks at the ledger


class Enqueued(NamedTuple):
    """What was put on the bus.

    Attributes:
        event: as it was published.
        weighings: those that it opens, or that are open or ended already.
    """

    event: ModelVersionEvent
    weighings: list[WeighingId]


def enqueue(
    app: Celery, settings: Settings, text: str, *, gate: str | None = None, force: bool = False
) -> Enqueued:
    """Put a version on the bus, after checking that it exists and that a gate will weigh it.

    Args:
        text: the version, `entity/project/collection:version`, by number or alias.
        gate: weigh under this gate only, whatever it watches.
        force: weigh again although there is a verdict.

    Raises:
        ConfigurationError: there is no such version or gate, or no gate watches it.
        PlatformError: W&B or Redis did not answer; nothing was enqueued.
    """
    ref = ArtifactRef.parse(text)
    gates = _gates(settings.gates, gate, ref)
    version = resolve(wandb_api(settings.wandb_timeout), ref)
    event = ModelVersionEvent(
        ref=version.ref,
        artifact_id=version.artifact_id,
        source="manual",
        gate=gate,
        force=force,
    )
    publish(app, event)
    return Enqueued(event, [WeighingId.of(one.name, version.ref) for one in gates])


def _gates(gate_file: GateFile, name: str | None, ref: ArtifactRef) -> list[Gate]:
    if name is not None:
        return [gate_file.named(name)]
    watching = gate_file.watching(ref.collection_path)
    if not watching:
        watched = ", ".join(pattern for gate in gate_file.gates for pattern in gate.watch)
        raise ConfigurationError(
            f"No gate watches {ref.collection_path}.",
            fix=f"The gate file watches {watched}; name a gate with --gate to weigh it anyway.",
        )
    return watching


def wait_for(
    ledger: Ledger, enqueued: Enqueued, tell: Callable[[Weighing], None]
) -> list[Weighing]:
    """Wait until every weighing of what was enqueued has its verdict, or awaits approval.

    Args:
        tell: called with a record whenever it has changed.

    Returns:
        The records, each with its verdict.

    Raises:
        PlatformError: no worker dispatched the event.
    """
    forced_by = enqueued.event if enqueued.event.force else None
    return [wait_for_one(ledger, one, tell, forced_by=forced_by) for one in enqueued.weighings]


def wait_for_one(
    ledger: Ledger,
    weighing: WeighingId,
    tell: Callable[[Weighing], None],
    *,
    forced_by: ModelVersionEvent | None = None,
) -> Weighing:
    """Wait until a weighing has its verdict, or awaits approval.

    Args:
        tell: called with the record whenever it has changed.
        forced_by: what is to open it again; the verdict from before is not the answer.

    Raises:
        PlatformError: no worker dispatched the event.
    """
    told, deadline = None, time.monotonic() + _DISPATCHED_WITHIN
    while True:
        record = ledger.get(weighing)
        # A verdict from before is not what was forced; one that was still being reached is.
        stale = record and record.settled and forced_by and record.event != forced_by and not told
        if record is None or stale:
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"No worker opened {weighing} within {_DISPATCHED_WITHIN:g} s.",
                    fix="Start a worker that serves the events queue, with the same gate file.",
                )
        elif record != told:
            tell(record)
            told = record
            if record.settled:
                return record
        time.sleep(_LOOK)
