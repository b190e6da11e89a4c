"""The references that the target collection holds."""

import json

import wandb

registry = wandb.Api().registry("RAG Models", organization="wandb32")
print(json.dumps([artifact.manifest.entries["model"].ref for artifact in registry.versions()]))
