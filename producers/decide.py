"""Record a person's decision about a version that awaits approval; a worker applies it."""

from datetime import UTC, datetime

from bus.bus import Bus
from bus.ledger import Ledger
from bus.publish import publish_weighing
from registry.calls import wandb_api
from registry.versions import resolve
from schemas.errors import ConfigurationError
from schemas.events import WeighingId
from schemas.refs import ArtifactRef
from schemas.verdicts import Decision


def decide(
    bus: Bus,
    text: str,
    *,
    gate: str | None,
    approved: bool,
    by: str,
    why: str,
) -> WeighingId:
    """Approve or reject a version, and send its weighing to a worker.

    Args:
        bus: Has the weighing, and takes the task.
        text: The version, ``entity/project/collection:version``, by number or alias.
        gate: The gate under which it awaits approval; may be None if there is only one.
        approved: The decision.
        by: The person's W&B username.
        why: The person's reason; required for a rejection.

    Returns:
        The weighing that was decided.

    Raises:
        ConfigurationError: There is no such version, or it does not await approval, or it awaits
            approval under several gates.
        PlatformError: W&B or Redis did not answer.
    """
    if not (approved or why.strip()):
        raise ConfigurationError("A rejection needs a reason.", fix="Give one with --why.")
    version = resolve(wandb_api(bus.settings.wandb_timeout), ArtifactRef.parse(text)).ref
    weighing = _awaiting(bus.ledger, version, gate)
    decision = Decision(approved=approved, by=by, why=why.strip(), at=datetime.now(UTC))
    if not bus.ledger.decide(weighing, decision):
        raise ConfigurationError(
            f"{weighing} has just been decided by another person.", fix="See `weighbridge status`."
        )
    publish_weighing(bus, weighing, first=True)
    return weighing


def _awaiting(ledger: Ledger, version: ArtifactRef, gate: str | None) -> WeighingId:
    records = [one for one in ledger.all() if one.id.version == version]
    requested = [one for one in records if gate in (None, one.id.gate)]
    waiting = [one.id for one in requested if one.state == "awaiting approval"]
    if len(waiting) == 1:
        return waiting[0]
    if waiting:
        raise ConfigurationError(
            f"{version} awaits approval under {', '.join(one.gate for one in waiting)}.",
            fix="Name one with --gate.",
        )
    states = ", ".join(f"{one.state} under {one.id.gate}" for one in records)
    raise ConfigurationError(
        f"{version} does not await approval{f' under {gate}' if gate else ''}:"
        f" it is {states or 'not in the ledger'}.",
        fix="See `weighbridge status`.",
    )
