"""Step 5: open the gate. Every effect may be repeated without changing anything.

The order is: log the reference artifact, link it, move the aliases. The RagModel itself was
published when it was rebuilt; the verdict is written after all of this.
"""

from collections.abc import Callable

import wandb

from registry.calls import wandb_call
from schemas.gates import Gate
from schemas.refs import ArtifactRef, WeaveRef

_LOGGED_WITHIN = 120  # seconds; the artifact is one line
_ENTRY = "model"  # the name under which the tutorial files the reference


def promote(
    run: wandb.Run, gate: Gate, rag_model: WeaveRef, url: str, check: Callable[[], None]
) -> ArtifactRef:
    """Log a reference to the weighed RagModel and link it to the gate's target collection.

    Args:
        run: the evaluation's run; it becomes the producer in the artifact's lineage.
        rag_model: the version that was weighed, by digest.
        url: the page of that version, kept in the artifact's metadata.
        check: called before each effect; raises when this worker may not go on.

    Returns:
        The version in the target collection.

    Raises:
        ConfigurationError: the target registry does not exist or is not ours.
        PlatformError: W&B did not answer.
    """
    artifact = wandb.Artifact(
        name=rag_model.name,
        type="model",
        description=f"{rag_model.name} weighed by gate {gate.name}",
        metadata={"url": url, "gate": gate.name, "gate_digest": gate.digest},
    )
    artifact.add_reference(rag_model.uri, name=_ENTRY, checksum=False)
    check()
    with wandb_call(f"log the reference to {rag_model}"):
        logged = run.log_artifact(artifact, aliases=[rag_model.digest]).wait(timeout=_LOGGED_WITHIN)
    check()
    with wandb_call(f"link the promoted version to {gate.promote.to}"):
        linked = run.link_artifact(logged, gate.promote.to, aliases=list(gate.promote.aliases))
    target = ArtifactRef.parse(gate.promote.to)
    return target.model_copy(update={"version": linked.version})
