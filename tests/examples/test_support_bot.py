"""A whole repository of another team: installed, published and weighed in its own environment."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import wandb
import weave
from weave.trace.weave_client import WeaveClient

from bus.ledger import Ledger
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Settings, read_gates
from schemas.verdicts import Evidence
from tests.certificates import environment_of_the_machine
from tests.engine.scripted_engine import knowing, scripted_engine
from tests.worker.weighed import weigh_by

_EXAMPLE = Path(__file__).parents[2] / "examples" / "support_bot"
_UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The team's checkout, where nothing of Weighbridge is."""
    folder = tmp_path_factory.mktemp("acme") / "support_bot"
    left_over = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", ".venv")
    shutil.copytree(_EXAMPLE, folder, ignore=left_over)
    return folder


@pytest.fixture(scope="module")
def python(repository: Path) -> Path:
    """The interpreter of the team's own environment, installed from the package index."""
    environment = environment_of_the_machine()
    environment.pop("PYTHONPATH", None)
    if index := environment.get("PIP_INDEX_URL"):
        environment.setdefault("UV_DEFAULT_INDEX", index)  # as the Makefile does
    home = repository.parent / "environment"
    python = home / "bin" / "python"
    if _UV.exists():
        create = [sys.executable, "-m", "venv", "--without-pip", str(home)]
        install = [str(_UV), "pip", "install", "--quiet", "--python", str(python)]
    else:
        create = [sys.executable, "-m", "venv", str(home)]
        install = [str(python), "-m", "pip", "install", "--quiet"]
    for command in (create, [*install, str(repository)]):
        subprocess.run(command, check=True, env=environment)
    return python


@pytest.fixture
def gate(
    repository: Path,
    python: Path,
    project: str,
    weave_project: WeaveClient,
    adapter: ArtifactRef,
    target: str,
) -> Gate:
    """The team's gate, with the places and the interpreter of this test."""
    command = [str(python), "publish.py", project, "acme/models/support:v0"]
    done = subprocess.run(command, check=True, cwd=repository, stdout=subprocess.PIPE, text=True)
    rag_model, evaluation = done.stdout.split()[-2:]
    [theirs] = read_gates(repository / "gate.yaml").gates
    here = {"watch": [adapter.collection_path], "rag_model": rag_model, "evaluation": evaluation}
    written = theirs.model_dump(mode="json") | here
    written["promote"]["to"] = target
    written["application"]["python"] = str(python)
    return Gate.model_validate(written)


@pytest.fixture
def engine_url(repository: Path) -> Iterator[str]:
    """An engine whose model answers the team's tickets."""
    lines = (repository / "data" / "tickets.jsonl").read_text().splitlines()
    tickets = [json.loads(line) for line in lines]
    with scripted_engine() as running:
        running.will_answer_by(knowing({one["ticket"]: one["expected"] for one in tickets}))
        yield running.url


def test_a_version_is_weighed_in_the_environment_of_a_team(
    gate: Gate, adapter: ArtifactRef, engine_url: str, settings: Settings, ledger: Ledger
) -> None:
    verdict = weigh_by(engine_url, gate, adapter, settings, ledger)
    assert verdict.outcome == "promoted", verdict.reason
    assert verdict.evidence is not None
    assert weave.ref(verdict.evidence.rag_model.uri).get().chat.model == str(adapter)
    packages = _config(verdict.evidence)["application"]["packages"]
    assert packages["openai"].startswith("2.")
    assert packages["openai"] != version("openai")
    assert "weighbridge" not in packages


def _config(evidence: Evidence) -> dict[str, Any]:
    """The config of the weighing's run, as plain wandb reads it."""
    run_id = evidence.run_url.rpartition("/")[2]
    return dict(wandb.Api().run(f"{evidence.rag_model.project_path}/{run_id}").config)
