"""Rollback: move a gate's aliases back to the previous champion."""

from datetime import UTC, datetime

import structlog
import wandb
from pydantic import BaseModel, ConfigDict

from bus.bus import Bus
from bus.promotion_lock import promotion_lock
from registry.calls import wandb_api, wandb_call
from registry.champions import PromotedVersion, find, promoted_by
from registry.versions import resolve
from schemas.errors import ConfigurationError
from schemas.gates import Gate
from schemas.refs import ArtifactRef

_METADATA_KEY = "rolled_back"  # on the version that lost the aliases

log = structlog.get_logger()


class RollbackRecord(BaseModel):
    """The record of a rollback in the metadata of the version that lost the aliases.

    Attributes:
        by: The person's W&B username.
        at: When it happened.
        why: The person's reason; may be empty.
        to: The version that received the aliases.
    """

    model_config = ConfigDict(frozen=True)

    by: str
    at: datetime
    why: str
    to: str


class Rollback(BaseModel):
    """The result of a rollback.

    Attributes:
        gate: Name of the gate.
        to: The version that has all the gate's aliases now.
        moved: The aliases that moved, each with the version that lost it, or None if no version
            had it. Empty if there was nothing to do.
    """

    model_config = ConfigDict(frozen=True)

    gate: str
    to: str
    moved: dict[str, str | None]


def rollback(bus: Bus, name: str, *, to: str | None, by: str, why: str) -> Rollback:
    """Move all aliases of a gate to an earlier version; safe to repeat.

    The audit stream and the version that loses the aliases record it before any alias moves. If
    W&B fails in between, repeating the call completes it.

    Args:
        bus: Has the audit stream.
        name: Name of the gate.
        to: A version in its target collection, as ``v3``; None is the champion that the gate's
            latest promotion replaced.
        by: The person's W&B username.
        why: The person's reason; may be empty.

    Raises:
        ConfigurationError: There is no such gate or version, or no previous champion, or the gate
            never promoted that version or moves no aliases.
        PlatformError: W&B or Redis did not answer, or the promotion lock timed out.
    """
    settings = bus.settings
    gate = settings.gates.gate(name)
    if not gate.promote.aliases:
        raise ConfigurationError(f"Gate '{name}' moves no aliases.", fix="See promote.aliases.")
    api = wandb_api(settings.wandb_timeout)
    with promotion_lock(settings, str(gate.promote.to), log.info) as held:
        target = _target(api, gate, to)
        done = Rollback(gate=name, to=str(target), moved=_aliases_to_move(api, gate, target))
        if done.moved:
            record = RollbackRecord(by=by, at=datetime.now(UTC), why=why, to=done.to)
            bus.ledger.note(name, "rolled back", _sentence(done, record))
            held.check()
            _record(api, done, record)
            held.check()
            _move_aliases(api, done)
    return done


def _target(api: wandb.Api, gate: Gate, wanted: str | None) -> ArtifactRef:
    promoted = promoted_by(api, gate)
    version = _in_target(gate, wanted) if wanted else _previous_champion(gate, promoted)
    found = resolve(api, version).ref
    if found not in [one.ref for one in promoted]:
        known = ", ".join(one.ref.version for one in promoted) or "no version yet"
        raise ConfigurationError(
            f"{found} was never promoted by gate '{gate.name}'.", fix=f"It promoted {known}."
        )
    return found


def _previous_champion(gate: Gate, promoted: list[PromotedVersion]) -> ArtifactRef:
    latest = promoted[0] if promoted else None
    previous = latest.record.champion if latest and latest.record else None
    # A version that was promoted again while it was the champion has replaced no other version.
    if latest is None or previous is None or previous == latest.ref:
        why = f"{latest.ref} replaced no version" if latest else "it has promoted no version"
        raise ConfigurationError(
            f"Gate '{gate.name}' has no previous champion: {why}.",
            fix="Name a version that it promoted with --to.",
        )
    return previous


def _aliases_to_move(api: wandb.Api, gate: Gate, target: ArtifactRef) -> dict[str, str | None]:
    """The gate's aliases that the target does not have, each with the version that has it."""
    holders: dict[str, str | None] = {}
    with wandb_call(f"find the aliases of gate '{gate.name}'"):
        for alias in gate.promote.aliases:
            found = find(api, _in_target(gate, alias))
            if found is None:
                holders[alias] = None
            elif found.version != target.version:
                holders[alias] = str(_in_target(gate, found.version))
    return holders


def _record(api: wandb.Api, done: Rollback, record: RollbackRecord) -> None:
    for version in {loser for loser in done.moved.values() if loser}:
        with wandb_call(f"record the rollback on {version}"):
            loser = api.artifact(version)
            loser.metadata = {**loser.metadata, _METADATA_KEY: record.model_dump(mode="json")}
            loser.save()


def _move_aliases(api: wandb.Api, done: Rollback) -> None:
    with wandb_call(f"move {', '.join(done.moved)} to {done.to}"):
        target = api.artifact(done.to)
        target.aliases = [*target.aliases, *done.moved]
        target.metadata = {
            key: value for key, value in target.metadata.items() if key != _METADATA_KEY
        }
        target.save()


def _sentence(done: Rollback, record: RollbackRecord) -> str:
    moves = ", ".join(
        f"{alias} from {loser or 'no version'}" for alias, loser in done.moved.items()
    )
    return f"{moves} to {done.to} by {record.by}: {record.why}".removesuffix(": ")


def _in_target(gate: Gate, version: str) -> ArtifactRef:
    return gate.promote.to.at(version)
