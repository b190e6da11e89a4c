"""Merges a LoRA adapter into its base as the base is read: W becomes W + scaling * B @ A.

Method: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, section 4.1
(https://arxiv.org/abs/2106.09685); the scaling alpha / sqrt(r) of ``use_rslora``: Kalajdzievski,
"A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023
(https://arxiv.org/abs/2312.03732).

A merged tensor has the type and shape of the one that it replaces. Nothing is written to disk, and
only the adapter and one tensor are in memory.
"""

import math
import re
from collections.abc import Iterator

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from engine import checkpoint
from engine.adapter_fit import changed_modules, tensor_name
from engine.artifact import Adapter, AdapterConfig, Checkpoint

NamedTensors = Iterator[tuple[str, torch.Tensor]]


def stored_tensors(base: Checkpoint) -> NamedTensors:
    """Read a checkpoint, one tensor at a time.

    Yields:
        The name and the value of every tensor, on the CPU.
    """
    for file in checkpoint.weight_files(base.folder):
        with safe_open(file, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118 (it is not a mapping)
                yield name, stream.get_tensor(name)


def merged_tensors(adapter: Adapter, base: Checkpoint, device: torch.device) -> NamedTensors:
    """Read a base with its adapter merged into it, one tensor at a time.

    Args:
        adapter: A mergeable adapter that has passed ``check_fits``.
        base: Its base model.
        device: The device that computes the merged tensors.

    Yields:
        The name and the value of every tensor in the base's type, merged ones on the device.
    """
    lora = load_file(adapter.folder / "adapter_model.safetensors", device=str(device))
    modules = changed_modules(lora)
    for name, weight in stored_tensors(base):
        module = name.removesuffix(".weight")
        if module in modules:
            merged = weight.to(device).float() + _delta(lora, module, adapter.config)
            yield name, merged.to(weight.dtype)
        else:
            yield name, weight


def _delta(lora: dict[str, torch.Tensor], module: str, config: AdapterConfig) -> torch.Tensor:
    """The change of one weight in float32 and in the base's orientation."""
    a, b = (lora[tensor_name(module, part)].float() for part in "AB")
    rank = a.shape[0]
    scaling = _alpha(module, config) / (math.sqrt(rank) if config.use_rslora else rank)
    delta = (b @ a) * scaling
    return delta.T if config.fan_in_fan_out else delta


def _alpha(module: str, config: AdapterConfig) -> float:
    """The value of the first pattern that matches the end of the module's name, as in peft."""
    for pattern, alpha in config.alpha_pattern.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return alpha
    return config.lora_alpha
