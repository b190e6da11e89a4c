"""The model team's program, in a separate process: its results in a local W&B."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from rich.progress import Progress

from local_wandb import LocalWandb, LocalWandbConfig
from registry.helper_process import end_helper_process
from rehearsal.finetune import Recipe, finetune_and_link
from rehearsal.model_team import COLLECTION, TRAINING_LOG

CONFIG = {"base": "a base", "rank": 4, "recipe": {"name": "mine", "epochs": 1}}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The variables of a W&B with the registry, which the SDK of this process also uses."""
    with LocalWandb(LocalWandbConfig(data_dir=tmp_path / "server")) as server:
        end_helper_process()
        settings = server.environment(tmp_path / "client")
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        wandb.Api().create_registry(
            "RAG Chat Models", visibility="organization", organization="wandb32"
        )
        yield {**os.environ, **settings}
        end_helper_process()


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / TRAINING_LOG).write_text(json.dumps({"config": CONFIG, "losses": [2.0, 1.0]}))
    return folder


def test_a_linked_version_has_the_run_that_trained_it(
    environment: dict[str, str], adapter: Path
) -> None:
    program = [sys.executable, "-m", "rehearsal.model_team", str(adapter)]
    finished = subprocess.run(
        program, env=environment, check=True, capture_output=True, text=True, cwd=Path.cwd()
    )
    (printed,) = [json.loads(line) for line in finished.stdout.splitlines()]
    assert printed["adapter"] == "mine"
    assert printed["version"] == f"{COLLECTION}:v0"

    version = wandb.Api().artifact(printed["version"])
    assert version.metadata == CONFIG
    assert {file.name for file in version.files()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    run = version.logged_by()
    assert run is not None
    assert run.job_type == "finetune"
    assert [row["loss"] for row in run.scan_history(keys=["loss"])] == [2.0, 1.0]


def test_a_live_training_links_its_adapter_and_logs_every_loss(
    environment: dict[str, str], tmp_path: Path
) -> None:
    recipe, folder = Recipe(name="tiny", epochs=2, rows=14), tmp_path / "tiny"
    with Progress(disable=True) as progress:
        finetune_and_link(recipe, folder, progress, COLLECTION)

    version = wandb.Api().artifact(f"{COLLECTION}:v0")
    assert version.metadata["recipe"] == recipe.model_dump()
    assert {file.name for file in version.files()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    run = version.logged_by()
    assert run is not None
    losses = json.loads((folder / TRAINING_LOG).read_text())["losses"]
    assert [row["loss"] for row in run.scan_history(keys=["loss"])] == losses
