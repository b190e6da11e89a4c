"""Helpers of the end-to-end tests: a finished rehearsal, and programs of plain wandb and weave."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from local_wandb.process import LocalWandb

_PROGRAMS = Path(__file__).parent / "programs"

Program = Callable[..., Any]
"""Takes a program's name and arguments; returns the last line of its output, parsed as JSON."""


class Rehearsed(NamedTuple):
    """The results of a rehearsal."""

    folder: Path
    output: str
    exit_code: int

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """The contents of ``verdicts.json``."""
        found: list[dict[str, Any]] = json.loads((self.folder / "verdicts.json").read_text())
        return found


def run_program(server: LocalWandb, folder: Path, program: str, *arguments: str) -> Any:
    """Run one of the plain programs against a local W&B and return its last line, parsed as JSON.

    Args:
        server: The local W&B.
        folder: The folder for the files of the program's SDKs.
        program: The name of the program's file.
        arguments: The program's arguments.
    """
    return program_output(os.environ | server.environment(folder), program, *arguments)


def program_output(environment: Mapping[str, str], program: str, *arguments: str) -> Any:
    """Run one of the plain programs in an environment and return its last line, parsed as JSON."""
    done = subprocess.run(
        [sys.executable, str(_PROGRAMS / program), *arguments],
        env={name: value for name, value in environment.items() if name != "WANDB_DISABLE_WEAVE"},
        cwd=environment["WANDB_DIR"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def mentioning(folder: Path) -> list[psutil.Process]:
    """Return the processes whose command line, environment or open files name the folder.

    A Celery worker overwrites its command line and its environment, but its log is open.
    """
    found = []
    for process in psutil.process_iter():
        try:
            text = f"{process.cmdline()} {process.environ()} {process.open_files()}"
            if str(folder) in text:
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found
