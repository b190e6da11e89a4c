"""Step 5: open the gate. Every effect may be repeated without changing anything.

The order is: log the reference artifact, link it, move the aliases. The RagModel itself was
published when it was rebuilt; the verdict is written after all of this.
"""

import wandb

from registry.calls import wandb_call
from schemas.gates import Gate
from schemas.refs import ArtifactRef, WeaveRef

_ENTRY = "model"  # the name under which the tutorial files the reference


def promote(run: wandb.Run, gate: Gate, rag_model: WeaveRef, url: str) -> ArtifactRef:
    """Log a reference to the weighed RagModel and link it to the gate's target collection.

    Args:
        run: the evaluation's run; it becomes the producer in the artifact's lineage.
        rag_model: the version that was weighed, by digest.
        url: the page of that version, kept in the artifact's metadata.

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
    with wandb_call(f"log the reference to {rag_model}"):
        logged = run.log_artifact(artifact, aliases=[rag_model.digest]).wait()
    with wandb_call(f"link the promoted version to {gate.promote.to}"):
        linked = run.link_artifact(logged, gate.promote.to, aliases=list(gate.promote.aliases))
    target = ArtifactRef.parse(gate.promote.to)
    return target.model_copy(update={"version": linked.version})
