"""The W&B tutorial that this project automates, with plain wandb and weave on the local W&B."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_wandb.config import LocalWandbConfig
from local_wandb.process import LocalWandb
from tests.e2e.rehearsed import run_program


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWandb]:
    with LocalWandb(LocalWandbConfig(data_dir=tmp_path_factory.mktemp("wandb"))) as running:
        yield running


def test_the_tutorials_cells_run_to_their_end(server: LocalWandb, tmp_path: Path) -> None:
    published = run_program(server, tmp_path, "tutorial_app_team.py", str(tmp_path))
    result = run_program(server, tmp_path, "tutorial.py", published["rag"], published["evaluation"])
    assert result["answer"] == {"answer": "1979"}
    assert result["summary"]["answer_correctness"] == {"mean": 1.0}
    found = run_program(server, tmp_path, "find_promoted.py", result["digest"], "latest")
    assert found["ref"] == result["link"]
    assert found["metadata"]["url"].endswith(result["digest"])
