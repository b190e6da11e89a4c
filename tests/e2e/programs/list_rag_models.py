"""Prints the number of RagModel versions, and the promoted references."""

import json

import wandb
import weave

client = weave.init("wandb-smle/weave-cookboook-demo")
versions = client.server.objs_query(
    {"project_id": "wandb-smle/weave-cookboook-demo", "filter": {"object_ids": ["RagModel"]}}
)
registry = wandb.Api().registry("RAG Models", organization="wandb32")
promoted = [artifact.manifest.entries["model"].ref for artifact in registry.versions()]
print(json.dumps({"versions": len(versions.objs), "promoted": promoted}))
