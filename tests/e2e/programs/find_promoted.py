"""Prints the promoted version under one alias of the target collection, with plain wandb.

Arguments: the alias of the source artifact (the Weave digest), the alias in the Registry.
"""

import json
import sys

import wandb

DIGEST, ALIAS = sys.argv[1:]
api = wandb.Api()
linked = api.artifact(f"wandb32/wandb-registry-RAG Models/RAG Model:{ALIAS}")
source = api.artifact(f"wandb-smle/weave-cookboook-demo/RagModel:{DIGEST}")
print(
    json.dumps(
        {
            "version": linked.version,
            "ref": linked.manifest.entries["model"].ref,
            "metadata": linked.metadata,
            "aliases": linked.aliases,
            "same_artifact": linked.id == source.id,
        }
    )
)
