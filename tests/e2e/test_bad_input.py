"""What goes wrong ends with one clear sentence, and the next version is weighed all the same."""

import pickle
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from safetensors.torch import load_file, save_file

from engine.server import EngineServer
from rehearsal.base_model import BASE_MODEL, base_model
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


@pytest.fixture(scope="module")
def before(stage: Stage) -> Any:
    """What is in W&B before the first version is weighed."""
    return _state(stage)


def _add_astray_gate(path: Path) -> None:
    """A second gate, for one collection, which names an object that is not there.

    Nor does a version's verdict depend on which was weighed before it.
    """
    gates = yaml.safe_load(path.read_text())
    gate = gates["gates"][0]
    gate["watch"] = ["wandb32/wandb-registry-RAG Chat Models/_*"]
    gate["thresholds"] = [one for one in gate["thresholds"] if "no_worse_than" not in one]
    astray = gate | {"name": "astray", "rag_model": _NOWHERE}
    astray["watch"] = ["wandb32/wandb-registry-RAG Chat Models/Astray"]
    path.write_text(yaml.safe_dump({"gates": [*gates["gates"], astray]}))


def _link(stage: Stage, folder: Path, collection: str) -> ArtifactRef:
    return ArtifactRef.parse(
        program_output(stage.environment, "link_files.py", str(folder), collection)
    )


def _state(stage: Stage) -> Any:
    return program_output(stage.environment, "list_rag_models.py")


def _verdict(stage: Stage, weighing: WeighingId) -> Verdict:
    _wait_for(stage, lambda: _state_of(stage, weighing) in ("promoted", "rejected", "failed"))
    record = stage.ledger.get(weighing)
    assert record is not None
    assert record.verdict is not None
    return record.verdict


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


def _adapter(folder: Path) -> None:
    shutil.copytree(str(files("rehearsal") / "adapters" / "good"), folder, dirs_exist_ok=True)


def _truncated(folder: Path) -> None:
    _adapter(folder)
    with (folder / "adapter_model.safetensors").open("r+b") as weights:
        weights.truncate(1_000_000)


def _without_base(folder: Path) -> None:
    _adapter(folder)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace(BASE_MODEL, "team/unheard-of"))


def _of_another_base(folder: Path) -> None:
    _adapter(folder)
    weights = folder / "adapter_model.safetensors"
    narrow = {name: t[:, :-1].contiguous() for name, t in load_file(weights).items()}
    save_file(narrow, weights)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_without_weights, r"is neither an adapter .* nor a checkpoint"),
        (_pickled, r"adapter_model\.bin.*safetensors"),
        (_truncated, r"has 1000000 bytes but its header promises .* cut short"),
        (_without_base, r"base model team/unheard-of .* is not below"),
        (_of_another_base, r"which cannot be multiplied|has a change of shape"),
    ],
)
def test_a_version_that_cannot_be_weighed_fails_with_the_reason(
    stage: Stage, before: Any, tmp_path: Path, make: Any, reason: str
) -> None:
    make(tmp_path)
    version = _link(stage, tmp_path, make.__name__)
    assert _enqueue(stage, str(version)).returncode == 0
    verdict = _verdict(stage, WeighingId.of("climate-rag", version))
    assert verdict.outcome == "failed"
    assert re.search(reason, verdict.reason)
    assert str(version) in verdict.reason
    assert _state(stage) == before


def test_a_gate_whose_rag_model_is_missing_fails_with_its_name(
    stage: Stage, before: Any, tmp_path: Path
) -> None:
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


def test_an_engine_that_is_killed_in_mid_evaluation_costs_one_attempt(
    stage: Stage, warm_run_dir: Path, tmp_path: Path
) -> None:
    _adapter(tmp_path)
    version = _link(stage, tmp_path, "_killed")
    assert _enqueue(stage, str(version)).returncode == 0
    weighing = WeighingId.of("climate-rag", version)
    _wait_for(stage, lambda: _rows_done(stage, weighing) > 0)
    _kill_engine(warm_run_dir)
    _wait_for(stage, lambda: _state_of(stage, weighing) == "queued")
    notes = [entry.note for entry in stage.ledger.audit() if entry.id == str(weighing)]
    assert re.search(f"The engine died while it served {re.escape(str(version))}", notes[-1])


def test_the_next_version_is_weighed_all_the_same(stage: Stage, tmp_path: Path) -> None:
    """Its base is an artifact, and no engine may run."""
    base = _link(stage, base_model(), "Bases")
    _adapter(tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(config.read_text().replace(BASE_MODEL, base.uri))
    version = _link(stage, tmp_path, "_next")
    assert _enqueue(stage, str(version)).returncode == 0
    verdict = _verdict(stage, WeighingId.of("climate-rag", version))
    assert verdict.outcome == "promoted", verdict.reason


def test_the_workers_are_alive_after_all_of_it(stage: Stage) -> None:
    stage.processes.check()


def _wait_for(stage: Stage, condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not condition():
        stage.processes.check()
        pause.wait(_LOOK)


def _rows_done(stage: Stage, weighing: WeighingId) -> int:
    record = stage.ledger.get(weighing)
    return record.progress.done if record and record.progress else 0


def _state_of(stage: Stage, weighing: WeighingId) -> str:
    record = stage.ledger.get(weighing)
    return record.state if record else "unknown"


def _kill_engine(run_dir: Path) -> None:
    server = EngineServer.find(run_dir / "engine")
    assert server is not None
    for process in psutil.Process(server.record.guard_pid).children():
        process.kill()
