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
from collections.abc import Iterable, Iterator

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from engine import checkpoint
from engine.artifact import Adapter, AdapterConfig, Checkpoint
from engine.checkpoint import TensorLocation
from schemas.errors import ArtifactError

_LORA_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_[AB]\.weight")
_FLOATS = frozenset({"F32", "F16", "BF16"})

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
    modules = _modules(lora)
    for name, weight in stored_tensors(base):
        module = name.removesuffix(".weight")
        if module in modules:
            merged = weight.to(device).float() + _delta(lora, module, adapter.config)
            yield name, merged.to(weight.dtype)
        else:
            yield name, weight


def is_mergeable(adapter: Adapter, base: Checkpoint) -> bool:
    """Whether the adapter only adds scaling * B @ A to weights that the base stores.

    Some modules in transformers, such as those of multimodal models, have other names than their
    weights have in the files. An adapter of such a module is not mergeable.
    """
    names = checkpoint.tensors([adapter.folder / "adapter_model.safetensors"])
    stored = checkpoint.tensors(checkpoint.weight_files(base.folder))
    return (
        not adapter.config.unmergeable()
        and all(map(_LORA_TENSOR.fullmatch, names))
        and all(f"{module}.weight" in stored for module in _modules(names))
    )


def check_fits(adapter: Adapter, base: Checkpoint) -> None:
    """Check from the files' headers that a mergeable adapter fits its base.

    Raises:
        ArtifactError: It does not fit; the message names the tensor.
    """
    lora = {
        name: location.shape
        for name, location in checkpoint.tensors(
            [adapter.folder / "adapter_model.safetensors"]
        ).items()
    }
    locations = checkpoint.tensors(checkpoint.weight_files(base.folder))
    for module in sorted(_modules(lora)):
        location = _location(module, adapter, locations)
        shape = _delta_shape(lora, module, adapter)
        if shape != location.shape:
            raise ArtifactError(
                f"The adapter {adapter.folder} has a change of shape {shape} for {module}, whose "
                f"weight has the shape {location.shape} in {_name(adapter)}.",
                fix="Set base_model_name_or_path in adapter_config.json to its real base.",
            )


def _modules(lora: Iterable[str]) -> frozenset[str]:
    return frozenset(match["module"] for name in lora if (match := _LORA_TENSOR.fullmatch(name)))


def _location(
    module: str, adapter: Adapter, locations: dict[str, TensorLocation]
) -> TensorLocation:
    location = locations[f"{module}.weight"]
    if location.dtype not in _FLOATS:
        raise ArtifactError(
            f"The adapter {adapter.folder} changes {module}, which its base "
            f"{_name(adapter)} stores as {location.dtype}.",
            fix="Set base_model_name_or_path in adapter_config.json to the unquantized base.",
        )
    return location


def _delta_shape(
    lora: dict[str, tuple[int, ...]], module: str, adapter: Adapter
) -> tuple[int, ...]:
    """The shape of B @ A in the base's orientation."""
    a, b = (lora.get(_tensor(module, part), ()) for part in "AB")
    if len(a) != 2 or len(b) != 2 or a[0] != b[1]:
        raise ArtifactError(
            f"The adapter {adapter.folder} has a lora_A of shape {a} and a lora_B of shape {b} "
            f"for {module}, which cannot be multiplied.",
            fix="Log the folder that peft's save_pretrained() wrote.",
        )
    return (a[1], b[0]) if adapter.config.fan_in_fan_out else (b[0], a[1])


def _delta(lora: dict[str, torch.Tensor], module: str, config: AdapterConfig) -> torch.Tensor:
    """The change of one weight in float32 and in the base's orientation."""
    a, b = (lora[_tensor(module, part)].float() for part in "AB")
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


def _tensor(module: str, part: str) -> str:
    return f"base_model.model.{module}.lora_{part}.weight"


def _name(adapter: Adapter) -> str:
    return adapter.config.base_model_name_or_path
