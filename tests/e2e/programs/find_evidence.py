"""Prints the evidence of a verdict that a second process finds, with plain wandb and weave.

Arguments: the text of verdicts.json.
"""

import json
import sys

import wandb
import weave

ENTITY, PROJECT = "wandb-smle", "weave-cookboook-demo"

api = wandb.Api()
client = weave.init(f"{ENTITY}/{PROJECT}")


def evidence(verdict):
    run = api.run(f"{ENTITY}/{PROJECT}/{verdict['run_url'].rsplit('/', 1)[1]}")
    chat_model = api.artifact(verdict["version"])
    found = {
        "job_type": run.job_type,
        "state": run.state,
        "config": dict(run.config),
        "summary": {
            key: dict(value) for key, value in run.summary.items() if hasattr(value, "items")
        },
        "used": [artifact.id for artifact in run.used_artifacts()],
        "chat_model_id": chat_model.id,
        "used_by": [user.id for user in chat_model.used_by()],
        "logged_by": chat_model.logged_by().job_type,
        "run": run.id,
    }

    root = client.get_call(verdict["weave_call"])
    children = list(client.get_calls(filter={"parent_ids": [root.id]}))
    rows = [call for call in children if call.func_name == "Evaluation.predict_and_score"]
    by_run = client.get_calls(
        query={"$expr": {"$eq": [{"$getField": "attributes.wandb-run-id"}, {"$literal": run.id}]}}
    )
    found["rows"] = len(rows)
    found["scores"] = [call.output["scores"]["answer_correctness"] for call in rows]
    found["dataset_rows"] = len(list(root.inputs["self"].dataset.rows))
    found["root_ended"] = root.ended_at is not None
    found["root_summary"] = dict(root.output["answer_correctness"])
    found["usage"] = root.summary["usage"]
    found["calls_of_run"] = len(list(by_run))

    if verdict["promoted_ref"]:
        promoted = api.artifact(verdict["promoted_ref"])
        ref = promoted.manifest.entries["model"].ref
        found["ref"] = ref
        found["promoted_url"] = promoted.metadata["url"]
        found["promoted_by"] = promoted.logged_by().id
        found["promoted_aliases"] = promoted.aliases
        found["by_digest"] = (
            api.artifact(f"{ENTITY}/{PROJECT}/RagModel:{ref.rsplit(':', 1)[1]}").id == promoted.id
        )
        found["rag_chat_model"] = weave.ref(ref).get().chat_model.chat_model
    return found


print(json.dumps([evidence(verdict) for verdict in json.loads(sys.argv[1])], default=str))
