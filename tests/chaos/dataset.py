"""The evaluation of the chaos test: eight questions, and versions that know some of the answers."""

import json
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

BASE_MODEL = "chaos/fake-base"
EVALUATION = "chaos_eval"
GATE = "chaos"
METRIC = "exact_match.true_fraction"
THRESHOLD = 0.5
QUESTIONS = 8

_CONFIG = {"peft_type": "LORA", "base_model_name_or_path": BASE_MODEL, "r": 1, "lora_alpha": 1}
_QUESTION = re.compile(r"What is thing (\d+)\?")


class Version(NamedTuple):
    """A model version.

    Attributes:
        serial: A number that makes the files of each version different.
        known: For each question, whether the version knows the answer.
    """

    serial: int
    known: tuple[bool, ...]

    @classmethod
    def draw(cls, serial: int, seed: str) -> "Version":
        """Draw a version; no two of a seed's first 256 versions know the same answers."""
        knowledge = random.Random(seed).sample(range(2**QUESTIONS), 2**QUESTIONS)
        bits = knowledge[serial % len(knowledge)]
        return cls(serial, tuple(bool(bits >> number & 1) for number in range(QUESTIONS)))

    @classmethod
    def read(cls, folder: Path) -> "Version":
        """Read the version from the folder of its adapter."""
        tensors = load_file(folder / "adapter_model.safetensors")
        return cls(int(tensors["serial"][0]), tuple(bool(one) for one in tensors["known"]))

    def write(self, folder: Path) -> None:
        """Create the folder of its adapter."""
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(json.dumps(_CONFIG))
        tensors: dict[str, NDArray[Any]] = {
            "serial": np.array([self.serial], np.int64),
            "known": np.array(self.known, np.uint8),
        }
        save_file(tensors, folder / "adapter_model.safetensors")

    def answer(self, prompt: str) -> str:
        """Answer the last question in the prompt; a prompt without one gets a greeting."""
        numbers = _QUESTION.findall(prompt)
        if not numbers:
            return "hello"
        number = int(numbers[-1])
        return right_answer(number) if self.known[number] else "no idea"


def question(number: int) -> str:
    """Return one of the questions, counted from 0."""
    return f"What is thing {number}?"


def right_answer(number: int) -> str:
    """Return the answer that the evaluation expects."""
    return f"thing number {number}"
