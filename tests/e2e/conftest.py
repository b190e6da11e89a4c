"""One rehearsal for all tests, as a user runs it, on the engine that all tests share."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_wandb.config import LocalWandbConfig
from local_wandb.process import LocalWandb
from tests.e2e.rehearsed import Program, Rehearsed, run_program


@pytest.fixture(scope="session")
def rehearsed(tmp_path_factory: pytest.TempPathFactory, warm_run_dir: Path) -> Rehearsed:
    folder = tmp_path_factory.mktemp("rehearsal") / "new"
    command = [sys.executable, "-m", "weighbridge", "rehearse"]
    done = subprocess.run(
        [*command, "--dir", str(folder), "--run-dir", str(warm_run_dir)],
        env={name: value for name, value in os.environ.items() if name != "CELERY_BROKER_URL"}
        | {"COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Rehearsed(folder, done.stdout, done.returncode)


@pytest.fixture(scope="module")
def program(rehearsed: Rehearsed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Runs a plain program against the rehearsal's W&B, which is started again."""
    folder = tmp_path_factory.mktemp("second-process")
    with LocalWandb(LocalWandbConfig(data_dir=rehearsed.folder / "wandb")) as server:

        def run(name: str, *arguments: str) -> Any:
            return run_program(server, folder, name, *arguments)

        yield run
