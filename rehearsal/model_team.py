"""The model team's part: log each adapter in a run and link it to the Registry.

This is a plain wandb program that uses nothing of Weighbridge. ``WANDB_ENTITY``, ``WANDB_PROJECT``,
``WANDB_BASE_URL`` and ``WANDB_API_KEY`` are wandb's own variables.

``python -m rehearsal.model_team ADAPTER...`` prints one JSON line for each linked version.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import wandb

COLLECTION = "wandb32/wandb-registry-RAG Chat Models/Finetuned SmolLM2"

TRAINING_LOG = "training_log.json"
"""File in the adapter's folder: ``{"config": {...}, "losses": [...]}``, one loss a step."""


def main() -> None:
    """Link the adapters that the command line names, in that order."""
    parser = argparse.ArgumentParser(description="Link adapters to the Registry.")
    parser.add_argument("adapters", nargs="+", type=Path, metavar="ADAPTER", help="its folder")
    parser.add_argument("--collection", default=COLLECTION, help="ORGANISATION/REGISTRY/NAME")
    options = parser.parse_args()
    for folder in options.adapters:
        log = json.loads((folder / TRAINING_LOG).read_text())
        with wandb.init(job_type="finetune", config=log["config"]) as run:
            for loss in log["losses"]:
                run.log({"loss": loss})
            link_adapter(run, folder, log["config"], options.collection)


def link_adapter(
    run: wandb.Run, folder: Path, config: dict[str, Any], collection: str = COLLECTION
) -> None:
    """Log an adapter as a model artifact of the run, link it and print the linked version.

    Args:
        run: The run that trained the adapter.
        folder: The adapter; its training log is not part of the model.
        config: The settings of the training; they become the artifact's metadata.
        collection: The path of the Registry's collection.
    """
    artifact = wandb.Artifact("climate-chat-adapter", type="model", metadata=config)
    for file in sorted(folder.iterdir()):
        if file.name != TRAINING_LOG:
            artifact.add_file(str(file))
    run.log_artifact(artifact)
    linked = run.link_artifact(artifact, collection)
    print(  # noqa: T201 (the program's output: the rehearsal reads it)
        json.dumps({"adapter": folder.name, "version": linked.qualified_name, "run": run.url}),
        flush=True,
    )


if __name__ == "__main__":
    main()
