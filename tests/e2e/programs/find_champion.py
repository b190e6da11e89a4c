"""Prints the version with the alias production in a collection, or null, with plain wandb.

Arguments: the collection.
"""

import json
import sys

import wandb

api = wandb.Api()
name = f"{sys.argv[1]}:production"
found = None
if api.artifact_exists(name):
    champion = api.artifact(name)
    chat_model = champion.metadata["chat_model"].removeprefix("wandb-artifact:///")
    found = {
        "version": champion.version,
        "aliases": champion.aliases,
        "metadata": dict(champion.metadata),
        "tags": list(api.artifact(chat_model).tags),
    }
print(json.dumps(found))
