"""The gate of every benchmark; the objects that it names are never read."""

from pathlib import Path

import yaml

from schemas.gates import Gate, GateFile, Promotion
from schemas.thresholds import AtLeast

GATE = Gate(
    name="bench",
    watch=("org/wandb-registry-R/*",),
    rag_model="weave:///e/p/object/RagModel:v0",
    evaluation="weave:///e/p/object/evaluation:v0",
    thresholds=(AtLeast(metric="m", at_least=0),),
    promote=Promotion(to="org/wandb-registry-S/c"),
)


def write_gates(folder: Path, gate: Gate = GATE) -> Path:
    """Write the gate file of a process under test and return its path."""
    path = folder / "gates.yaml"
    document = GateFile(gates=(gate,)).model_dump(mode="json", exclude_none=True)
    path.write_text(yaml.safe_dump(document))
    return path
