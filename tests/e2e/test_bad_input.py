"""What cannot be weighed ends with one clear sentence, and changes nothing."""

import pickle
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal.stage import Stage, empty, set_up
from schemas.events import WeighingId
from schemas.refs import ArtifactRef
from schemas.verdicts import Verdict
from tests.e2e.rehearsed import program_output

_LOOK = 0.2  # seconds
_NOWHERE = "weave:///wandb-smle/weave-cookboook-demo/object/Nowhere:v0"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, warm_run_dir: Path) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage") / "new"
    empty(folder)
    with ExitStack() as stack:
        stage = set_up(folder, stack, run_dir=warm_run_dir)
        _add_astray_gate(folder / "gates.yaml")
        stage.processes.run("app team", ["-m", "rehearsal.app_team"])
        yield stage


def _add_astray_gate(path: Path) -> None:
    """A second gate, for one collection, which names an object that is not there."""
    gates = yaml.safe_load(path.read_text())
    gates["gates"][0]["watch"] = ["wandb32/wandb-registry-RAG Chat Models/_*"]
    astray = gates["gates"][0] | {"name": "astray", "rag_model": _NOWHERE}
    astray["watch"] = ["wandb32/wandb-registry-RAG Chat Models/Astray"]
    path.write_text(yaml.safe_dump({"gates": [*gates["gates"], astray]}))


def _link(stage: Stage, folder: Path, collection: str) -> ArtifactRef:
    return ArtifactRef.parse(
        program_output(stage.environment, "link_files.py", str(folder), collection)
    )


def _state(stage: Stage) -> Any:
    return program_output(stage.environment, "list_rag_models.py")


def _verdict(stage: Stage, weighing: WeighingId) -> Verdict:
    pause = threading.Event()
    while True:
        stage.processes.check()
        record = stage.ledger.get(weighing)
        if record and record.verdict:
            return record.verdict
        pause.wait(_LOOK)


def _enqueue(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "weighbridge", "enqueue", *arguments],
        env=stage.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _without_weights(folder: Path) -> None:
    (folder / "README.md").write_text("soon")


def _pickled(folder: Path) -> None:
    shutil.copy(str(files("rehearsal") / "adapters" / "good" / "adapter_config.json"), folder)
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({"weight": [0.0]}))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_without_weights, r"is neither an adapter .* nor a checkpoint"),
        (_pickled, r"adapter_model\.bin.*safetensors"),
    ],
)
def test_a_version_that_cannot_be_weighed_fails_with_the_reason(
    stage: Stage, tmp_path: Path, make: Any, reason: str
) -> None:
    before = _state(stage)
    make(tmp_path)
    version = _link(stage, tmp_path, make.__name__)
    assert _enqueue(stage, str(version)).returncode == 0
    verdict = _verdict(stage, WeighingId.of("climate-rag", version))
    assert verdict.outcome == "failed"
    assert re.search(reason, verdict.reason)
    assert str(version) in verdict.reason
    assert _state(stage) == before


def test_a_gate_whose_rag_model_is_missing_fails_with_its_name(
    stage: Stage, tmp_path: Path
) -> None:
    before = _state(stage)
    adapter = tmp_path / "adapter"
    shutil.copytree(str(files("rehearsal") / "adapters" / "good"), adapter)
    version = _link(stage, adapter, "Astray")
    done = _enqueue(stage, str(version), "--wait")
    assert done.returncode == 1
    assert f"{_NOWHERE} does not exist" in done.stdout
    assert _state(stage) == before


def test_an_unknown_version_is_refused_at_once(stage: Stage) -> None:
    known = len(list(stage.ledger.all()))
    done = _enqueue(stage, "wandb32/wandb-registry-RAG Chat Models/Astray:v9")
    assert done.returncode == 1
    assert "could not read version" in done.stderr
    assert "Check the spelling" in done.stderr
    assert len(list(stage.ledger.all())) == known


def test_the_workers_are_alive_after_all_of_it(stage: Stage) -> None:
    stage.processes.check()
