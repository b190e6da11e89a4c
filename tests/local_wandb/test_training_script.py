"""An ordinary training script in its own process, which uses nothing of this project."""

import json
import os
import subprocess
import sys
from pathlib import Path

from local_wandb import LocalWandb

SCRIPT = """
import json
from pathlib import Path
import wandb

wandb.login()
api = wandb.Api()
api.create_registry("Trained", visibility="organization", artifact_types=["model"])

with wandb.init(project="training", job_type="data") as run:
    rows = wandb.Table(columns=["question", "answer"], data=[["why", "because"]])
    data = wandb.Artifact("questions", type="dataset")
    data.add(rows, "rows")
    run.log_artifact(data, aliases=["clean"])

with wandb.init(project="training", job_type="train", config={"lr": 1e-4, "rank": 8}) as run:
    used = run.use_artifact("questions:clean")
    assert used.get("rows").data == [["why", "because"]]
    run.define_metric("loss", summary="min")
    for step in range(10):
        run.log({"loss": (step - 5) ** 2, "epoch": step / 10})
    run.log({"predictions": wandb.Table(columns=["a"], data=[[1], [2]])})
    path = Path("adapter_model.safetensors")
    path.write_bytes(b"weights")
    model = wandb.Artifact("adapter", type="model", metadata=dict(run.config))
    model.add_file(str(path))
    run.log_artifact(model, aliases=["candidate"], tags=["lora"])
    linked = run.link_artifact(model, "wandb-registry-Trained/Climate", aliases=["staging"])

api = wandb.Api()
version = api.artifact("wandb-registry-Trained/Climate:staging")
trained = version.logged_by()
[table] = [a for a in trained.logged_artifacts() if a.type == "run_table"]
print(json.dumps({
    "version": version.version,
    "metadata": version.metadata,
    "tags": version.tags,
    "loss": trained.summary["loss"]["min"],
    "used": [a.name for a in trained.used_artifacts()],
    "predictions": table.get("predictions").data,
    "history": len(list(trained.scan_history(keys=["loss"]))),
    "found": [v.name for v in api.registry("Trained").collections().versions({"metadata.rank": 8})],
    "bytes": Path(version.download(), "adapter_model.safetensors").read_text(),
}))
"""


def test_a_training_script_runs_as_it_does_against_wandb(
    server: LocalWandb, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | server.environment(tmp_path / "client"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "version": "v0",
        "metadata": {"lr": 1e-4, "rank": 8},
        "tags": ["lora"],
        "loss": 0,
        "used": ["questions:v0"],
        "predictions": [[1], [2]],
        "history": 10,
        "found": ["Climate:v0"],
        "bytes": "weights",
    }
