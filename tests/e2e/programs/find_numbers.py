"""Prints the numbers of a weighing from all pages of W&B and Weave, with plain wandb and weave.

Arguments: the text of verdicts.json.
"""

import json
import sys

import wandb
import weave
from weave.flow.leaderboard import get_leaderboard_results

ENTITY, PROJECT = "wandb-smle", "weave-cookboook-demo"

api = wandb.Api()
client = weave.init(f"{ENTITY}/{PROJECT}")
board = weave.ref(f"weave:///{ENTITY}/{PROJECT}/object/climate-rag:latest").get()
results = {one.model_ref: one for one in get_leaderboard_results(board, client)}


def rows_of(run, key):
    for artifact in run.logged_artifacts():
        if artifact.type == "run_table" and artifact.name.split(":")[0].endswith(f"-{key}"):
            table = artifact.get(key)
            return [dict(zip(table.columns, row, strict=True)) for row in table.data]
    return None


def numbers(verdict):
    run = api.run(f"{ENTITY}/{PROJECT}/{verdict['run_url'].rsplit('/', 1)[1]}")
    mine = results[verdict["rag_model"]]
    call = client.get_call(verdict["weave_call"])
    found = {
        "predictions": rows_of(run, "predictions"),
        "changed": rows_of(run, "changed_predictions"),
        "leaderboard": {
            f"{column.scorer_name}.{column.summary_metric_path}": scores.scores[-1].value
            for column, scores in zip(board.columns, mine.column_scores, strict=True)
        },
        "run_tags": list(run.tags),
        "version_tags": list(api.artifact(verdict["version"]).tags),
        "feedback": [
            one.payload for one in call.feedback if one.feedback_type == "weighbridge.verdict"
        ],
        "run_files": [file.name for file in run.files()],
    }
    if verdict["promoted_ref"]:
        found["metadata"] = dict(api.artifact(verdict["promoted_ref"]).metadata)
    return found


print(json.dumps([numbers(verdict) for verdict in json.loads(sys.argv[1])], default=str))
