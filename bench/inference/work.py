"""The input of the compared programs: a model, and conversations to answer."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors.torch import save_file

from engine.command import environment
from engine.merge import merged_tensors
from engine.version import Version
from schemas.settings import Settings


class Work(BaseModel):
    """The same input for every compared program.

    Attributes:
        checkpoint: Folder of the model, an adapter merged into its base.
        chat_template: The version's Jinja chat template.
        conversations: OpenAI messages of each row.
        max_tokens: Maximum length of an answer, in tokens.
        max_model_len: Maximum length of prompt and answer together, in tokens.
    """

    checkpoint: Path
    chat_template: str
    conversations: list[list[dict[str, str]]]
    max_tokens: int
    max_model_len: int


def write_merged(version: Version, folder: Path) -> Path:
    """Merge an adapter into its base and write the checkpoint, for programs that read a folder."""
    if version.adapter is None:
        return version.base.folder
    shutil.copytree(
        version.base.folder, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json")
    )
    merged = merged_tensors(version.adapter, version.base, torch.device("cpu"))
    save_file(dict(merged), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def run_program(module: str, work: Work, folder: Path, settings: Settings) -> dict[str, Any]:
    """Run a program that does the work once.

    Returns:
        The last line of its output, parsed.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, str(_written(work, folder))],
        env=environment(settings),
        stdout=subprocess.PIPE,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


class Program:
    """A running program that repeats the work on request.

    Args:
        process: Prints a JSON line for each line that it reads.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def request(self) -> dict[str, Any]:
        """Let the program do the work once more and return its answer.

        Raises:
            RuntimeError: The program ended.
        """
        assert self._process.stdin  # noqa: S101 (a pipe)
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return the next JSON line of the program; other output is skipped.

        Raises:
            RuntimeError: The program ended.
        """
        assert self._process.stdout  # noqa: S101 (a pipe)
        for line in self._process.stdout:
            if line.startswith("{"):
                parsed: dict[str, Any] = json.loads(line)
                return parsed
        raise RuntimeError(f"The program ended with status {self._process.wait()}.")


@contextmanager
def program(module: str, work: Work, folder: Path, settings: Settings) -> Iterator[Program]:
    """Run a program until the block is left."""
    with (
        (folder / f"{module}.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", module, str(_written(work, folder))],
            env=environment(settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        running = Program(process)
        running.answer()
        yield running
        assert process.stdin  # noqa: S101 (a pipe)
        process.stdin.close()


def _written(work: Work, folder: Path) -> Path:
    file = folder / "work.json"
    file.write_text(work.model_dump_json())
    return file
