"""Which of the versions in a registry a gate takes, whether they are weighed already or not."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from registry.changes import LinkedVersion
from registry.tags import verdict_tags
from schemas.gates import Gate
from schemas.settings import Backfill


def new_versions(
    gate: Gate, versions: Iterable[LinkedVersion], first_seen: datetime
) -> list[LinkedVersion]:
    """The versions linked since the gate was first seen.

    With `when_alias`, the versions that hold such an alias now. W&B does not tell when an alias was
    given, so such a gate takes every version that holds one, however old it is.
    """
    if gate.when_alias:
        return [version for version in versions if matching_alias(gate, version)]
    return [version for version in versions if version.linked_at >= first_seen]


def matching_alias(gate: Gate, version: LinkedVersion) -> str | None:
    """The alias for which the gate takes this version; None without `when_alias`."""
    if gate.when_alias is None:
        return None
    return next((alias for alias in sorted(version.aliases) if gate.accepts_alias(alias)), None)


def backfilled_versions(
    gate: Gate, versions: Sequence[LinkedVersion], first_seen: datetime, backfill: Backfill
) -> list[LinkedVersion]:
    """The versions older than the gate that it takes all the same.

    Args:
        versions: all that the gate watches in a registry.
    """
    older = _older(gate, versions, first_seen)
    if backfill == "latest":
        latest = _latest(versions)
        return [version for version in older if version is latest[version.ref.collection_path]]
    return older if backfill == "all" else []


def forgotten_versions(
    gate: Gate, versions: Sequence[LinkedVersion], first_seen: datetime
) -> list[LinkedVersion]:
    """What an older life of the gate took, if Redis was emptied since.

    A verdict's tag is the proof of it: what was linked to a collection after the first version
    there that has one was taken, and in a collection without a tag, after the first of all.

    Args:
        versions: all that the gate watches in a registry.
        first_seen: when the gate was looked at first, as far as Redis knows.
    """
    tags = verdict_tags(gate.name)
    first: dict[str, datetime] = {}
    for version in versions:
        if version.tags & tags:
            path = version.ref.collection_path
            first[path] = min(version.linked_at, first.get(path, version.linked_at))
    proof = min(first.values(), default=first_seen)
    return [
        version
        for version in _older(gate, versions, first_seen)
        if version.linked_at >= first.get(version.ref.collection_path, proof)
    ]


def _older(
    gate: Gate, versions: Iterable[LinkedVersion], first_seen: datetime
) -> list[LinkedVersion]:
    if gate.when_alias:
        return []
    return [version for version in versions if version.linked_at < first_seen]


def _latest(versions: Iterable[LinkedVersion]) -> dict[str, LinkedVersion]:
    by_number = sorted(versions, key=lambda version: version.ref.number or 0)
    return {version.ref.collection_path: version for version in by_number}
