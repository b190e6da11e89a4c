"""Reads the answers of evaluation calls back from Weave.

``python -m tests.chaos.read_answers PATH CALL...`` writes them to PATH as JSON: for each evaluation
call, the answer to each question.
"""

import json
import os
import sys
from pathlib import Path

import weave

from worker.verdict.evidence import read_back


def main() -> None:
    """Read the answers from the W&B that the environment variables name."""
    path, *calls = sys.argv[1:]
    client = weave.init(f"{os.environ['WANDB_ENTITY']}/{os.environ['WANDB_PROJECT']}")
    answers = {
        call: {
            row.columns["question"]: row.output["answer"] for row in read_back(client, call).rows
        }
        for call in calls
    }
    Path(path).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
