"""One of the model team's programs: links versions to the Registry, at moments of its own.

A plain wandb program, without anything of Weighbridge.

``python -m tests.chaos.pusher FIRST COUNT SEED COLLECTION...`` prints one JSON line for each
version: its name, what it knows, and when it was linked.
"""

import json
import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import wandb

from tests.chaos.exam import Version

_LONGEST_PAUSE = 20.0  # seconds between two versions, so that much goes wrong meanwhile


def main() -> None:
    """Link the versions."""
    first, count, seed, *collections = sys.argv[1:]
    dice = random.Random(f"{seed} {first}")
    with wandb.init(job_type="finetune") as run, TemporaryDirectory() as folder:
        for serial in range(int(first), int(first) + int(count)):
            version = Version.drawn(serial, seed)
            version.write(Path(folder) / str(serial))
            time.sleep(dice.uniform(0, _LONGEST_PAUSE))
            _link(run, version, Path(folder) / str(serial), dice.choice(collections))


def _link(run: wandb.Run, version: Version, folder: Path, collection: str) -> None:
    artifact = wandb.Artifact(f"adapter-{version.serial}", type="model")
    artifact.add_dir(str(folder))
    run.log_artifact(artifact)
    linked = run.link_artifact(artifact, collection)
    told = {"version": linked.qualified_name, "known": version.known, "linked_at": time.time()}
    print(json.dumps(told), flush=True)  # noqa: T201 (the program's output: the run reads it)


if __name__ == "__main__":
    main()
