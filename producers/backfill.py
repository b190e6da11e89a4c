"""Select the versions in a registry that a gate takes, whether or not they have a verdict."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from registry.changes import LinkedVersion
from registry.tags import verdict_tags
from schemas.gates import Gate
from schemas.settings import Backfill


def new_versions(
    gate: Gate, versions: Iterable[LinkedVersion], first_seen: datetime
) -> list[LinkedVersion]:
    """Versions that were linked since the gate was first seen.

    With ``when_alias``, versions that have a matching alias now, whatever their age: W&B does not
    report when an alias was added.
    """
    if gate.when_alias:
        return [version for version in versions if matching_alias(gate, version)]
    return [version for version in versions if version.linked_at >= first_seen]


def matching_alias(gate: Gate, version: LinkedVersion) -> str | None:
    """Return the alias for which the gate takes a version; None without ``when_alias``."""
    if gate.when_alias is None:
        return None
    return next((alias for alias in sorted(version.aliases) if gate.accepts_alias(alias)), None)


def backfilled_versions(
    gate: Gate, versions: Sequence[LinkedVersion], first_seen: datetime, backfill: Backfill
) -> list[LinkedVersion]:
    """Versions older than the gate that the backfill setting includes.

    Args:
        gate: The gate.
        versions: All versions that the gate watches in a registry.
        first_seen: When the gate was first seen there.
        backfill: The operator's setting.
    """
    older = _older(gate, versions, first_seen)
    if backfill == "latest":
        latest = _latest(versions)
        return [version for version in older if version is latest[version.ref.collection_path]]
    return older if backfill == "all" else []


def forgotten_versions(
    gate: Gate, versions: Sequence[LinkedVersion], first_seen: datetime
) -> list[LinkedVersion]:
    """Versions that the gate took before Redis lost its data.

    Verdict tags show which: the gate took every version linked after the first tagged one in its
    collection, or, in a collection without a tag, after the first tagged one in the registry.

    Args:
        gate: The gate.
        versions: All versions that the gate watches in a registry.
        first_seen: When the gate was first seen there, according to Redis.
    """
    tags = verdict_tags(gate.name)
    first_tagged: dict[str, datetime] = {}
    for version in versions:
        if version.tags & tags:
            path = version.ref.collection_path
            first_tagged[path] = min(version.linked_at, first_tagged.get(path, version.linked_at))
    first_of_all = min(first_tagged.values(), default=first_seen)
    return [
        version
        for version in _older(gate, versions, first_seen)
        if version.linked_at >= first_tagged.get(version.ref.collection_path, first_of_all)
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
