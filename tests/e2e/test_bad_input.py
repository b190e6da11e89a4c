"""Invalid versions and failures end with a clear reason, and the next version is evaluated."""

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
from rehearsal.services import Services, prepare_folder, start_services
from schemas.events import WeighingId
from schemas.refs import ArtifactRef
from schemas.verdicts import Verdict
from tests.e2e.rehearsed import program_output

_POLL_INTERVAL = 0.2  # seconds
_NOWHERE = "weave:///wandb-smle/weave-cookboook-demo/object/Nowhere:v0"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, warm_run_dir: Path) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("stage") / "new"
    prepare_folder(folder)
    with ExitStack() as stack:
        services = start_services(folder, stack, run_dir=warm_run_dir)
        _add_astray_gate(folder / "gates.yaml")
        services.processes.run("app team", ["-m", "rehearsal.app_team"])
        yield services


@pytest.fixture(scope="module")
def before(services: Services) -> Any:
    """The state of W&B before the first version is weighed."""
    return _state(services)


def _add_astray_gate(path: Path) -> None:
    """Add a second gate, for one collection, that names a missing object.

    Both gates have no champion threshold, so that no verdict depends on an earlier one.
    """
    gates = yaml.safe_load(path.read_text())
    gate = gates["gates"][0]
    gate["watch"] = ["wandb32/wandb-registry-RAG Chat Models/_*"]
    gate["thresholds"] = [one for one in gate["thresholds"] if "no_worse_than" not in one]
    astray = gate | {"name": "astray", "rag_model": _NOWHERE}
    astray["watch"] = ["wandb32/wandb-registry-RAG Chat Models/Astray"]
    path.write_text(yaml.safe_dump({"gates": [*gates["gates"], astray]}))


def _link(services: Services, folder: Path, collection: str) -> ArtifactRef:
    return ArtifactRef.parse(
        program_output(services.environment, "link_files.py", str(folder), collection)
    )


def _state(services: Services) -> Any:
    return program_output(services.environment, "list_rag_models.py")


def _verdict(services: Services, weighing: WeighingId) -> Verdict:
    _wait_for(services, lambda: _state_of(services, weighing) in ("promoted", "rejected", "failed"))
    record = services.ledger.get(weighing)
    assert record is not None
    assert record.verdict is not None
    return record.verdict


def _enqueue(services: Services, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "weighbridge", "enqueue", *arguments],
        env=services.environment,
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
def test_an_invalid_version_fails_with_the_reason(
    services: Services, before: Any, tmp_path: Path, make: Any, reason: str
) -> None:
    make(tmp_path)
    version = _link(services, tmp_path, make.__name__)
    assert _enqueue(services, str(version)).returncode == 0
    verdict = _verdict(services, WeighingId.of("climate-rag", version))
    assert verdict.outcome == "failed"
    assert re.search(reason, verdict.reason)
    assert str(version) in verdict.reason
    assert _state(services) == before


def test_a_gate_whose_rag_model_is_missing_fails_with_its_name(
    services: Services, before: Any, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(str(files("rehearsal") / "adapters" / "good"), adapter)
    version = _link(services, adapter, "Astray")
    done = _enqueue(services, str(version), "--wait")
    assert done.returncode == 1
    assert f"{_NOWHERE} does not exist" in done.stdout
    assert _state(services) == before


def test_an_unknown_version_is_refused_at_once(services: Services) -> None:
    known = len(list(services.ledger.all()))
    done = _enqueue(services, "wandb32/wandb-registry-RAG Chat Models/Astray:v9")
    assert done.returncode == 1
    assert "could not read version" in done.stderr
    assert "Check the spelling" in done.stderr
    assert len(list(services.ledger.all())) == known


def test_an_engine_killed_during_an_evaluation_costs_one_attempt(
    services: Services, warm_run_dir: Path, tmp_path: Path
) -> None:
    _adapter(tmp_path)
    version = _link(services, tmp_path, "_killed")
    assert _enqueue(services, str(version)).returncode == 0
    weighing = WeighingId.of("climate-rag", version)
    _wait_for(services, lambda: _rows_done(services, weighing) > 0)
    _kill_engine(warm_run_dir)
    _wait_for(services, lambda: _state_of(services, weighing) == "queued")
    notes = [entry.note for entry in services.ledger.audit() if entry.id == str(weighing)]
    assert re.search(f"The engine died while it served {re.escape(str(version))}", notes[-1])


def test_the_next_version_is_evaluated(services: Services, tmp_path: Path) -> None:
    """The base of this version is an artifact, and its engine was killed by the test before."""
    base = _link(services, base_model(), "Bases")
    _adapter(tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(config.read_text().replace(BASE_MODEL, base.uri))
    version = _link(services, tmp_path, "_next")
    assert _enqueue(services, str(version)).returncode == 0
    verdict = _verdict(services, WeighingId.of("climate-rag", version))
    assert verdict.outcome == "promoted", verdict.reason


def test_the_workers_survive_every_failure(services: Services) -> None:
    services.processes.check()


def _wait_for(services: Services, condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not condition():
        services.processes.check()
        pause.wait(_POLL_INTERVAL)


def _rows_done(services: Services, weighing: WeighingId) -> int:
    record = services.ledger.get(weighing)
    return record.progress.done if record and record.progress else 0


def _state_of(services: Services, weighing: WeighingId) -> str:
    record = services.ledger.get(weighing)
    return record.state if record else "unknown"


def _kill_engine(run_dir: Path) -> None:
    server = EngineServer.find(run_dir / "engine")
    assert server is not None
    for process in psutil.Process(server.record.guard_pid).children():
        process.kill()
