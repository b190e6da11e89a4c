"""Publishes two evaluations of the climate application, each with other rows of the dataset."""

import json
import os

import weave

from rehearsal import climate
from rehearsal.app_team import evaluation

client = weave.init(f"{os.environ['WANDB_ENTITY']}/{os.environ['WANDB_PROJECT']}")
rows = [question.model_dump() for question in climate.questions()]
for name, part in {"first_rows": rows[:24:2], "other_rows": rows[1:24:2]}.items():
    weave.publish(
        weave.Evaluation(
            name=name,
            dataset=weave.Dataset(name=f"{name}_data", rows=part),
            scorers=evaluation().scorers,
        ),
        name,
    )
client.flush()
print(json.dumps(len(rows)))
