"""The exam of the chaos test: eight questions, of which each version knows some."""

import json
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

BASE_MODEL = "chaos/stand-in"
EVALUATION = "chaos_eval"
GATE = "chaos"
METRIC = "exact_match.true_fraction"
PASS_MARK = 0.5
QUESTIONS = 8

_CONFIG = {"peft_type": "LORA", "base_model_name_or_path": BASE_MODEL, "r": 1, "lora_alpha": 1}
_QUESTION = re.compile(r"What is thing (\d+)\?")


class Version(NamedTuple):
    """What a version knows, and what makes it another one than a version that knows the same.

    Attributes:
        serial: of the version.
        known: for each question whether it knows the answer.
    """

    serial: int
    known: tuple[bool, ...]

    @classmethod
    def drawn(cls, serial: int, seed: str) -> "Version":
        """One that knows some of the answers; of the first 256 of a seed no two know the same."""
        knowledge = random.Random(seed).sample(range(2**QUESTIONS), 2**QUESTIONS)
        bits = knowledge[serial % len(knowledge)]
        return cls(serial, tuple(bool(bits >> number & 1) for number in range(QUESTIONS)))

    @classmethod
    def read(cls, folder: Path) -> "Version":
        """The version whose adapter lies in the folder."""
        tensors = load_file(folder / "adapter_model.safetensors")
        return cls(int(tensors["serial"][0]), tuple(bool(one) for one in tensors["known"]))

    def write(self, folder: Path) -> None:
        """Make the folder of its adapter."""
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(json.dumps(_CONFIG))
        tensors: dict[str, NDArray[Any]] = {
            "serial": np.array([self.serial], np.int64),
            "known": np.array(self.known, np.uint8),
        }
        save_file(tensors, folder / "adapter_model.safetensors")

    def answer(self, prompt: str) -> str:
        """What it says to a prompt that ends in a question of the exam; else a greeting."""
        asked = _QUESTION.findall(prompt)
        if not asked:
            return "hello"
        return right_answer(int(asked[-1])) if self.known[int(asked[-1])] else "no idea"


def question(number: int) -> str:
    """One of the questions, counted from 0."""
    return f"What is thing {number}?"


def right_answer(number: int) -> str:
    """The answer that the evaluation expects."""
    return f"thing number {number}"
