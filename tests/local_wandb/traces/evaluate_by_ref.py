"""A second process, which has nothing but two references."""

import asyncio
import json
import sys

import weave

project, evaluation_ref, model_ref = sys.argv[1:]
client = weave.init(project)
evaluation = weave.ref(evaluation_ref).get()
model = weave.ref(model_ref).get()
with weave.attributes({"wandb-run-id": "run-1"}):
    summary, call = asyncio.run(evaluation.evaluate.call(evaluation, model))
client.flush()
sys.stdout.write(json.dumps({"call": call.id, "summary": summary}))
