"""Links versions to the Registry, as a program of the model team does.

It is a plain wandb program that uses nothing of Weighbridge.

``python -m tests.chaos.link_versions FIRST COUNT SEED COLLECTION...`` prints one JSON line for each
version, with the fields of ``tests.chaos.progress.LinkedVersion``.
"""

import json
import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import wandb

from tests.chaos.dataset import Version

_LONGEST_PAUSE = 10.0  # seconds between two versions, so that links and faults overlap


def main() -> None:
    """Link the versions."""
    first, count, seed, *collections = sys.argv[1:]
    dice = random.Random(f"{seed} {first}")
    with wandb.init(job_type="finetune") as run, TemporaryDirectory() as folder:
        for serial in range(int(first), int(first) + int(count)):
            version = Version.draw(serial, seed)
            version.write(Path(folder) / str(serial))
            time.sleep(dice.uniform(0, _LONGEST_PAUSE))
            _link(run, version, Path(folder) / str(serial), dice.choice(collections))


def _link(run: wandb.Run, version: Version, folder: Path, collection: str) -> None:
    artifact = wandb.Artifact(f"adapter-{version.serial}", type="model")
    artifact.add_dir(str(folder))
    run.log_artifact(artifact)
    linked = run.link_artifact(artifact, collection)
    line = {**version._asdict(), "version": linked.qualified_name, "linked_at": time.time()}
    print(json.dumps(line), flush=True)  # noqa: T201 (the program's output, which the test reads)


if __name__ == "__main__":
    main()
