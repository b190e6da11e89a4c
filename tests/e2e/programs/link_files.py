"""Links a folder's files as a model version; prints the version.

Arguments: the folder, the collection in the registry of chat models.
"""

import json
import sys

import wandb

FOLDER, COLLECTION = sys.argv[1:]
with wandb.init(job_type="finetune") as run:
    artifact = wandb.Artifact("chat-model", type="model")
    artifact.add_dir(FOLDER)
    run.log_artifact(artifact)
    linked = run.link_artifact(artifact, f"wandb32/wandb-registry-RAG Chat Models/{COLLECTION}")
print(json.dumps(linked.qualified_name))
