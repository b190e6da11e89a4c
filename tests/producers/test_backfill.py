from datetime import UTC, datetime, timedelta

import pytest

from producers.backfill import backfilled_versions, forgotten_versions, matching_alias, new_versions
from registry.changes import LinkedVersion
from registry.tags import verdict_tag
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Backfill

_BORN = datetime(2026, 1, 31, tzinfo=UTC)


def _linked(version: str, days: float, *, tag: str = "", alias: str = "latest") -> LinkedVersion:
    """A version that was linked some days after the gate was first seen."""
    at = _BORN + timedelta(days=days)
    return LinkedVersion(
        ref=ArtifactRef.parse(f"wandb32/wandb-registry-RAG Chat Models/{version}"),
        artifact_id=version,
        linked_at=at,
        changed_at=at,
        aliases=frozenset({alias}),
        tags=frozenset({tag, "theirs"}),
    )


def _names(versions: list[LinkedVersion]) -> list[str]:
    return [version.artifact_id for version in versions]


_REGISTRY = [
    _linked("a:v9", -3),
    _linked("a:v10", -2),
    _linked("b:v0", -1),
    _linked("b:v1", 1),
]


def test_versions_linked_since_the_gate_was_first_seen_are_new(gate: Gate) -> None:
    assert _names(new_versions(gate, _REGISTRY, _BORN)) == ["b:v1"]


@pytest.mark.parametrize(
    ("backfill", "older"),
    [("none", []), ("latest", ["a:v10"]), ("all", ["a:v9", "a:v10", "b:v0"])],
)
def test_the_backfill_setting_selects_older_versions(
    gate: Gate, backfill: Backfill, older: list[str]
) -> None:
    assert _names(backfilled_versions(gate, _REGISTRY, _BORN, backfill)) == older


def test_forgotten_versions_begin_with_the_first_tagged_one(gate: Gate) -> None:
    ours, other = verdict_tag(gate.name, "rejected"), verdict_tag("other", "promoted")
    versions = [
        _linked("a:v0", -9, tag=other),
        _linked("a:v1", -8),
        _linked("a:v2", -5, tag=ours),
        _linked("a:v3", -4),
        _linked("b:v0", -4),
        _linked("b:v1", -3, tag=ours),
        _linked("c:v0", -7),
        _linked("c:v1", -2),
    ]
    left = _names(forgotten_versions(gate, versions, _BORN))
    assert left == ["a:v2", "a:v3", "b:v1", "c:v1"]


def test_without_a_tag_no_version_is_forgotten(gate: Gate) -> None:
    assert forgotten_versions(gate, _REGISTRY, _BORN) == []


def test_a_gate_with_an_alias_takes_versions_of_any_age_that_have_it(gate: Gate) -> None:
    gate = gate.model_copy(update={"when_alias": "candidate-*"})
    versions = [_linked("a:v0", -1, alias="candidate-1"), _linked("a:v1", 1)]
    assert _names(new_versions(gate, versions, _BORN)) == ["a:v0"]
    assert backfilled_versions(gate, versions, _BORN, "all") == []
    assert forgotten_versions(gate, versions, _BORN) == []


def test_matching_alias_returns_the_alias_of_the_gate(gate: Gate) -> None:
    version = _linked("a:v0", 0, alias="candidate-1")
    assert matching_alias(gate, version) is None
    assert matching_alias(gate.model_copy(update={"when_alias": "cand*"}), version) == "candidate-1"
