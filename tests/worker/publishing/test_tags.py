"""Tags on runs and versions, read back with a separate API object."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import wandb

from schemas.errors import ConfigurationError
from schemas.events import WeighingId
from schemas.refs import ArtifactRef
from schemas.verdicts import Outcome
from worker.publishing import tag_run, tag_version


@pytest.fixture
def version(link: Callable[..., str]) -> ArtifactRef:
    """A linked version with another user's tag, alias and metadata."""
    ref = ArtifactRef.parse(link(f"weights {uuid4().hex}", f"tags {uuid4().hex[:8]}"))
    artifact = wandb.Api().artifact(str(ref))
    artifact.tags = ["theirs"]
    artifact.aliases.append("staging")
    artifact.metadata["rank"] = 8
    artifact.description = "rank 8"
    artifact.save()
    return ref


def _tag(version: ArtifactRef, outcome: Outcome, gate: str = "climate-rag") -> None:
    tag_version(wandb.Api(), WeighingId.of(gate, version), outcome)


def _read(version: ArtifactRef) -> Any:
    return wandb.Api().artifact(str(version))


def test_a_run_has_one_tag_of_ours_and_keeps_the_others(run: wandb.Run) -> None:
    run.tags = ("theirs",)
    outcomes: tuple[Outcome, ...] = ("failed", "awaiting approval", "promoted", "promoted")
    for outcome in outcomes:
        tag_run(run, outcome)
    run.finish()
    assert sorted(wandb.Api().run(run.path).tags) == ["theirs", "weighbridge-promoted"]


def test_a_resumed_run_gets_a_new_tag_after_a_decision(run: wandb.Run) -> None:
    run.tags = ("theirs",)
    run.config.update({"gate": "climate-rag"})  # type: ignore[no-untyped-call]
    run.log({"correct": 0.5})
    tag_run(run, "awaiting approval")
    run.finish()
    assert "weighbridge-awaiting-approval" in wandb.Api().run(run.path).tags
    settings = wandb.Settings(console="off", reinit="create_new")
    with wandb.init(id=run.id, resume="must", settings=settings) as resumed:
        tag_run(resumed, "rejected")
    ended = wandb.Api().run(run.path)
    assert sorted(ended.tags) == ["theirs", "weighbridge-rejected"]
    assert (ended.config["gate"], ended.summary["correct"]) == ("climate-rag", 0.5)


@pytest.mark.parametrize(
    ("outcomes", "ours"),
    [
        (("promoted", "promoted"), ["weighbridge-climate-rag-promoted"]),
        (("promoted", "rejected"), ["weighbridge-climate-rag-rejected"]),
        (("rejected", "failed"), []),
        (("rejected", "awaiting approval"), []),
    ],
)
def test_a_version_has_one_tag_of_ours_and_keeps_other_changes(
    version: ArtifactRef, outcomes: tuple[Outcome, ...], ours: list[str]
) -> None:
    for outcome in outcomes:
        _tag(version, outcome)
    found = _read(version)
    assert sorted(found.tags) == ["theirs", *ours]
    assert sorted(found.aliases) == ["latest", "staging"]
    assert (found.metadata["rank"], found.description) == (8, "rank 8")


def test_each_gate_has_its_own_tag(version: ArtifactRef) -> None:
    _tag(version, "promoted")
    _tag(version, "rejected", gate="safety.v2")
    _tag(version, "failed", gate="third")
    assert sorted(_read(version).tags) == [
        "theirs",
        "weighbridge-climate-rag-promoted",
        "weighbridge-safety v2-rejected",
    ]


class BusyApi(wandb.Api):
    """Another user changes each version right after it is read."""

    def artifact(self, name: str, type: str | None = None) -> Any:  # noqa: A002 - the SDK's name
        found = super().artifact(name, type)
        other = wandb.Api().artifact(name)
        other.metadata["rank"] = 16
        other.tags.append("also theirs")
        other.aliases.append("production")
        other.save()
        return found


def test_concurrent_changes_are_kept(version: ArtifactRef) -> None:
    tag_version(BusyApi(), WeighingId.of("climate-rag", version), "promoted")
    found = _read(version)
    assert sorted(found.tags) == ["also theirs", "theirs", "weighbridge-climate-rag-promoted"]
    assert sorted(found.aliases) == ["latest", "production", "staging"]
    assert found.metadata["rank"] == 16


def test_tagging_does_not_move_aliases(version: ArtifactRef, link: Callable[..., str]) -> None:
    newer = ArtifactRef.parse(link(f"weights {uuid4().hex}", version.collection))
    _tag(version, "promoted")
    latest = wandb.Api().artifact(f"{version.collection_path}:latest")
    assert (latest.version, latest.tags) == (newer.version, [])


def test_a_missing_version_is_named(version: ArtifactRef) -> None:
    missing = version.model_copy(update={"version": "v9"})
    with pytest.raises(ConfigurationError, match=f"tag version {missing}"):
        _tag(missing, "promoted")
