"""Promote versions in tests, as worker/promote.py does."""

from datetime import UTC, datetime

import wandb

from schemas.gates import Gate
from schemas.promotions import PromotionRecord
from schemas.refs import ArtifactRef


def reference(name: str) -> str:
    """Return the RagModel version that a promoted version refers to."""
    return f"weave:///e/p/object/RagModel:{name}"


def record(
    gate: Gate, *, champion: ArtifactRef | None, day: int, number: int = 0
) -> PromotionRecord:
    return PromotionRecord(
        gate=gate.name,
        gate_digest=gate.digest,
        chat_model=f"wandb-artifact:///e/p/c:v{number}",
        url="https://wandb.ai/e/p/weave",
        evaluation="weave:///e/p/object/evaluation:digest",
        dataset="weave:///e/p/object/dataset:digest",
        weave_call="call",
        run="e/p/run",
        champion=champion,
        checks=(),
        versions={"wandb": wandb.__version__},
        promoted_at=datetime(2026, 1, day, tzinfo=UTC),
    )


def log_reference(run: wandb.Run, name: str, metadata: dict[str, object]) -> wandb.Artifact:
    """Log a reference to a RagModel version; a second time it changes only the metadata."""
    artifact = wandb.Artifact("RagModel", type="model")
    artifact.add_reference(reference(name), name="model", checksum=False)
    logged = run.log_artifact(artifact).wait()
    logged.metadata = metadata  # also for a version that exists already
    logged.save()
    return logged


def link_reference(
    run: wandb.Run, gate: Gate, name: str, metadata: dict[str, object]
) -> ArtifactRef:
    """Link a reference to a RagModel version, with the gate's aliases."""
    logged = log_reference(run, name, metadata)
    linked = run.link_artifact(logged, str(gate.promote.to), aliases=list(gate.promote.aliases))
    return gate.promote.to.at(linked.version)


def promoted(
    run: wandb.Run,
    gate: Gate,
    name: str,
    *,
    champion: ArtifactRef | None = None,
    day: int = 1,
    number: int = 0,
) -> ArtifactRef:
    """Promote a version under a gate.

    Args:
        run: The run that logs it.
        gate: The gate.
        name: Name of its RagModel version.
        champion: The champion that it replaces.
        day: Day of the promotion.
        number: Number of the model version that was weighed.
    """
    metadata = record(gate, champion=champion, day=day, number=number).model_dump(mode="json")
    return link_reference(run, gate, name, metadata)
