"""Merges a LoRA adapter into its base: W becomes W + scaling * B @ A.

Method: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, section 4.1
(https://arxiv.org/abs/2106.09685); the scaling alpha / sqrt(r) of ``use_rslora``: Kalajdzievski,
"A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023
(https://arxiv.org/abs/2312.03732).

A merged tensor has the type and the shape of the one it replaces, so the base's files are copied
and the touched tensors are rewritten in place: memory holds the adapter and one tensor.
"""

import math
import mmap
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file

from schemas.errors import ArtifactError
from worker.inference import checkpoint
from worker.inference.artifact import Adapter, Checkpoint, LoraConfig
from worker.inference.checkpoint import TensorPlace

_LORA_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_[AB]\.weight")
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def merge(adapter: Adapter, base: Checkpoint, target: Path) -> Checkpoint:
    """Write the checkpoint that the adapter makes of its base.

    Args:
        adapter: The adapter.
        base: Its base model.
        target: Folder to write; must not exist yet.

    Returns:
        The merged checkpoint, with the adapter's own tokenizer and chat template if it has them.

    Raises:
        ArtifactError: The adapter does not fit the base.
    """
    places = checkpoint.tensors(checkpoint.weight_files(base.folder))
    lora = load_file(adapter.folder / "adapter_model.safetensors")
    touched = {module: _touched(module, adapter, places) for module in _modules(lora, adapter)}
    _copy_base(adapter, base, target, rewritten={place.file for place in touched.values()})
    for module, place in touched.items():
        delta = _delta(lora, module, adapter.config)
        _add(place, delta, file=target / place.file.name, adapter=adapter)
    return Checkpoint(folder=target)


def _modules(lora: Iterable[str], adapter: Adapter) -> list[str]:
    names = [(name, _LORA_TENSOR.fullmatch(name)) for name in lora]
    if strange := sorted(name for name, match in names if match is None):
        raise ArtifactError(
            f"The adapter {adapter.folder} holds {strange[0]}, which cannot be merged.",
            fix="Merge it where it was trained (merge_and_unload) and log the checkpoint.",
        )
    return sorted({match["module"] for _, match in names if match})


def _touched(module: str, adapter: Adapter, places: dict[str, TensorPlace]) -> TensorPlace:
    place = places.get(f"{module}.weight")
    if place is None or place.dtype not in _DTYPES:
        found = "does not have" if place is None else f"stores as {place.dtype}"
        raise ArtifactError(
            f"The adapter {adapter.folder} changes {module}, which its base "
            f"{adapter.config.base_model_name_or_path} {found}.",
            fix="Name the unquantised base that it was trained on, in adapter_config.json.",
        )
    return place


def _copy_base(
    adapter: Adapter, base: Checkpoint, target: Path, *, rewritten: Iterable[Path]
) -> None:
    """Copy the base, weights only where they change, and lay the adapter's tokenizer over it."""
    target.mkdir(parents=True)
    weights = checkpoint.weight_files(base.folder)
    for file in weights:
        if file in rewritten:
            shutil.copyfile(file, target / file.name)
        else:
            (target / file.name).symlink_to(file.resolve())
    for file in base.folder.iterdir():
        if file.is_file() and file not in weights:
            shutil.copyfile(file, target / file.name)
    for name in (*checkpoint.TOKENIZER_FILES, "tokenizer_config.json", "chat_template.jinja"):
        if (adapter.folder / name).is_file():
            shutil.copyfile(adapter.folder / name, target / name)


def _delta(lora: dict[str, torch.Tensor], module: str, config: LoraConfig) -> torch.Tensor:
    """The change of one weight, float32, in the base's own orientation."""
    a = lora[f"base_model.model.{module}.lora_A.weight"].float()
    b = lora[f"base_model.model.{module}.lora_B.weight"].float()
    rank = a.shape[0]
    scaling = _alpha(module, config) / (math.sqrt(rank) if config.use_rslora else rank)
    delta = (b @ a) * scaling
    return delta.T if config.fan_in_fan_out else delta


def _alpha(module: str, config: LoraConfig) -> float:
    """As peft does: the first pattern that matches the end of the module's name wins."""
    for pattern, alpha in config.alpha_pattern.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return alpha
    return config.lora_alpha


def _add(place: TensorPlace, delta: torch.Tensor, *, file: Path, adapter: Adapter) -> None:
    if delta.shape != place.shape:
        raise ArtifactError(
            f"The adapter {adapter.folder} has a change of shape {tuple(delta.shape)} for a "
            f"weight of shape {place.shape} in {place.file.name}.",
            fix="Name the base that it was trained on in adapter_config.json.",
        )
    with file.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as memory:
        _add_in_place(memory, place, delta)


def _add_in_place(memory: mmap.mmap, place: TensorPlace, delta: torch.Tensor) -> None:
    # In its own function: the mapping can close only after the last view on it is gone.
    weight = torch.frombuffer(
        memory, dtype=_DTYPES[place.dtype], count=delta.numel(), offset=place.start
    ).view(delta.shape)
    weight.copy_(weight.float() + delta)
