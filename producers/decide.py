"""A person decides about a version that awaits approval; a worker carries it out."""

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
) -> list[WeighingId]:
    """Approve or reject a version, and send it to a worker.

    Args:
        text: the version, `entity/project/collection:version`, by number or alias.
        gate: under which it awaits approval; None where there is only one such gate.
        by: who decides, as W&B knows them.
        why: in their words; a rejection needs some.

    Returns:
        The weighing that was decided.

    Raises:
        ConfigurationError: there is no such version, it does not await approval, or under more
            than one gate.
        PlatformError: W&B or Redis did not answer.
    """
    if not (approved or why.strip()):
        raise ConfigurationError(
            "A rejection without a reason helps nobody.", fix="Give one with --why."
        )
    version = resolve(wandb_api(bus.settings.wandb_timeout), ArtifactRef.parse(text)).ref
    weighing = _awaiting(bus.ledger, version, gate)
    decision = Decision(approved=approved, by=by, why=why.strip(), at=datetime.now(UTC))
    if not bus.ledger.decide(weighing, decision):
        raise ConfigurationError(
            f"{weighing} was decided by somebody else just now.", fix="See `weighbridge status`."
        )
    publish_weighing(bus, weighing, first=True)
    return [weighing]


def _awaiting(ledger: Ledger, version: ArtifactRef, gate: str | None) -> WeighingId:
    records = [one for one in ledger.all() if one.id.version == version]
    asked = [one for one in records if gate in (None, one.id.gate)]
    waiting = [one.id for one in asked if one.state == "awaiting approval"]
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
        f" it is {states or 'not known to the ledger'}.",
        fix="See `weighbridge status`.",
    )
