"""Rollback: give a gate's aliases back to the champion before."""

from datetime import UTC, datetime

import structlog
import wandb
from pydantic import BaseModel, ConfigDict

from bus.ledger import Ledger
from bus.promotion_lock import promotion_lock
from registry.calls import wandb_api, wandb_call
from registry.champions import PromotedVersion, find, promoted_by
from registry.versions import resolve
from schemas.errors import ConfigurationError
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Settings

_KEY = "rolled_back"  # in the metadata of the version that lost the aliases

log = structlog.get_logger()


class RollbackRecord(BaseModel):
    """What a version that was rolled back says of it, in its metadata.

    Attributes:
        by: who did it, as W&B knows them.
        why: in their words; may be empty.
        to: the version that got the aliases.
    """

    model_config = ConfigDict(frozen=True)

    by: str
    at: datetime
    why: str
    to: str


class Rollback(BaseModel):
    """What a rollback changed.

    Attributes:
        gate: whose aliases moved.
        to: the version that holds all of them now.
        moved: the aliases that moved, each with the version that lost it; None if nobody held it.
            Empty when there was nothing to do.
    """

    model_config = ConfigDict(frozen=True)

    gate: str
    to: str
    moved: dict[str, str | None]


def rollback(
    ledger: Ledger, settings: Settings, name: str, *, to: str | None, by: str, why: str
) -> Rollback:
    """Move all aliases of a gate to an earlier version; done twice, it changes nothing more.

    It is recorded before anything moves, in the ledger's audit and on the version that loses the
    aliases: if W&B fails in between, the same call again does the rest.

    Args:
        name: of the gate.
        to: a version in its target collection, as `v3`; None is the champion that the gate's
            latest promotion displaced.
        by: who asks for it, as W&B knows them.
        why: in their words; may be empty.

    Raises:
        ConfigurationError: there is no such gate or version, no champion before, or the gate
            never promoted that version or moves no aliases.
        PlatformError: W&B or Redis did not answer, or promotions kept it waiting for too long.
    """
    gate = settings.gates.gate(name)
    if not gate.promote.aliases:
        raise ConfigurationError(f"Gate '{name}' moves no aliases.", fix="See promote.aliases.")
    api = wandb_api(settings.wandb_timeout)
    with promotion_lock(settings, str(gate.promote.to), log.info) as held:
        target = _target(api, gate, to)
        done = Rollback(gate=name, to=str(target), moved=_elsewhere(api, gate, target))
        if done.moved:
            record = RollbackRecord(by=by, at=datetime.now(UTC), why=why, to=done.to)
            ledger.note(name, "rolled back", _sentence(done, record))
            held.check()
            _mark(api, done, record)
            held.check()
            _move(api, done)
    return done


def _target(api: wandb.Api, gate: Gate, wanted: str | None) -> ArtifactRef:
    promoted = promoted_by(api, gate)
    version = _in_target(gate, wanted) if wanted else _displaced(gate, promoted)
    found = resolve(api, version).ref
    if found not in [one.ref for one in promoted]:
        known = ", ".join(one.ref.version for one in promoted) or "nothing yet"
        raise ConfigurationError(
            f"{found} was never promoted by gate '{gate.name}'.", fix=f"It promoted {known}."
        )
    return found


def _displaced(gate: Gate, promoted: list[PromotedVersion]) -> ArtifactRef:
    latest = promoted[0] if promoted else None
    before = latest.record.champion if latest and latest.record else None
    # A version that was promoted once more while it was the champion has displaced nobody.
    if latest is None or before is None or before == latest.ref:
        why = f"{latest.ref} displaced nobody" if latest else "it has promoted nothing"
        raise ConfigurationError(
            f"Gate '{gate.name}' knows no champion before: {why}.",
            fix="Name a version that it promoted with --to.",
        )
    return before


def _elsewhere(api: wandb.Api, gate: Gate, target: ArtifactRef) -> dict[str, str | None]:
    """The gate's aliases that the target does not hold, each with the version that does."""
    elsewhere: dict[str, str | None] = {}
    with wandb_call(f"look for the aliases of gate '{gate.name}'"):
        for alias in gate.promote.aliases:
            holder = find(api, _in_target(gate, alias))
            if holder is None:
                elsewhere[alias] = None
            elif holder.version != target.version:
                elsewhere[alias] = str(_in_target(gate, holder.version))
    return elsewhere


def _mark(api: wandb.Api, done: Rollback, record: RollbackRecord) -> None:
    for version in {loser for loser in done.moved.values() if loser}:
        with wandb_call(f"record on {version} that it is rolled back"):
            loser = api.artifact(version)
            loser.metadata = {**loser.metadata, _KEY: record.model_dump(mode="json")}
            loser.save()


def _move(api: wandb.Api, done: Rollback) -> None:
    with wandb_call(f"move {', '.join(done.moved)} to {done.to}"):
        target = api.artifact(done.to)
        target.aliases = [*target.aliases, *done.moved]
        target.metadata = {key: value for key, value in target.metadata.items() if key != _KEY}
        target.save()


def _sentence(done: Rollback, record: RollbackRecord) -> str:
    moves = ", ".join(f"{alias} from {loser or 'nobody'}" for alias, loser in done.moved.items())
    return f"{moves} to {done.to} by {record.by}: {record.why}".removesuffix(": ")


def _in_target(gate: Gate, version: str) -> ArtifactRef:
    return gate.promote.to.at(version)
