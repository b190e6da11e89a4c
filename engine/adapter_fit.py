"""Checks from the headers of the files whether an adapter can be merged into its base.

``merge`` computes the result. It needs torch, which takes a second to import; this needs none.
"""

import re
from collections.abc import Iterable

from engine import checkpoint
from engine.artifact import Adapter, Checkpoint
from engine.checkpoint import TensorLocation
from schemas.errors import ArtifactError

_LORA_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_[AB]\.weight")
_FLOATS = frozenset({"F32", "F16", "BF16"})


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
        and all(f"{module}.weight" in stored for module in changed_modules(names))
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
    for module in sorted(changed_modules(lora)):
        location = _location(module, adapter, locations)
        shape = _delta_shape(lora, module, adapter)
        if shape != location.shape:
            raise ArtifactError(
                f"The adapter {adapter.folder} has a change of shape {shape} for {module}, whose "
                f"weight has the shape {location.shape} in {_name(adapter)}.",
                fix="Set base_model_name_or_path in adapter_config.json to its real base.",
            )


def changed_modules(lora: Iterable[str]) -> frozenset[str]:
    """The modules that an adapter changes, by the names of its tensors."""
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
    a, b = (lora.get(tensor_name(module, part), ()) for part in "AB")
    if len(a) != 2 or len(b) != 2 or a[0] != b[1]:
        raise ArtifactError(
            f"The adapter {adapter.folder} has a lora_A of shape {a} and a lora_B of shape {b} "
            f"for {module}, which cannot be multiplied.",
            fix="Log the folder that peft's save_pretrained() wrote.",
        )
    return (a[1], b[0]) if adapter.config.fan_in_fan_out else (b[0], a[1])


def tensor_name(module: str, part: str) -> str:
    """The name of the tensor ``A`` or ``B`` of a module's change."""
    return f"base_model.model.{module}.lora_{part}.weight"


def _name(adapter: Adapter) -> str:
    return adapter.config.base_model_name_or_path
