"""Dequantizes a checkpoint that bitsandbytes quantized to 4 bits.

    python -P -m engine.four_bit SOURCE TARGET

transformers' ``save_pretrained`` stores a quantized weight as these tensors:

| tensor                                       | content                                           |
|----------------------------------------------|---------------------------------------------------|
| `N.weight`                                   | two values in each byte                           |
| `N.weight.absmax`                            | the scale of each block of values                 |
| `N.weight.quant_map`                         | the numbers for the 16 values                     |
| `N.weight.nested_absmax`, `nested_quant_map` | double quantization: absmax itself has 8 bits     |
| `N.weight.quant_state.bitsandbytes__nf4`     | JSON (or `__fp4`): type, shape, block sizes       |

(transformers/quantizers/quantizer_bnb_4bit.py). bitsandbytes' functions dequantize one tensor after
another on the CPU.
"""

import json
import re
import shutil
import sys
from math import ceil, prod
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import QuantState, dequantize_4bit
from safetensors import safe_open
from safetensors.torch import save_file

from engine import checkpoint
from engine.unpack import REFUSED
from schemas.errors import ArtifactError

# Values in one output file; the process holds one file in memory.
_SHARD = 2**28
_INDEX = "model.safetensors.index.json"
_PART = re.compile(
    r"(?P<weight>.+)\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.\w+)"
)
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# What bitsandbytes raises for an invalid quant state.
_BROKEN = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


def dequantize(source: Path, target: Path) -> None:
    """Write a 4-bit checkpoint as an ordinary one and copy the files other than the weights.

    Args:
        source: The checkpoint.
        target: The new folder.

    Raises:
        ArtifactError: The quantized weights are incomplete or broken.
    """
    target.mkdir()
    config = checkpoint.read_json(source / "config.json")
    config["dtype"] = _dtype(config, config.pop("quantization_config"))
    (target / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
    _write_weights(_FourBitTensors(source, _DTYPES[config["dtype"]]), target)
    for file in source.iterdir():
        kept = file.suffix != ".safetensors" and file.name not in ("config.json", _INDEX)
        if kept and file.is_file():
            shutil.copyfile(file, target / file.name)


def _dtype(config: dict[str, Any], quantization: dict[str, Any]) -> str:
    """The name of the type in which the model computes."""
    named = config.get("dtype") or config.get("torch_dtype")  # its name before transformers 5
    dtype = named or quantization.get("bnb_4bit_compute_dtype")
    return dtype if dtype in _DTYPES else "bfloat16"


def _write_weights(tensors: "_FourBitTensors", folder: Path) -> None:
    shards = _shards(tensors.sizes)
    _report(f"unpacking {len(tensors.sizes)} weights")
    files: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: tensors.read(name) for name in names}, folder / file, {"format": "pt"})
        files |= dict.fromkeys(names, file)
        _report(f"unpacked {len(files)} of {len(tensors.sizes)} weights")
    index = {"metadata": {}, "weight_map": files}
    (folder / _INDEX).write_text(json.dumps(index, indent=2), "utf-8")


def _report(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (the worker reads stdout)


def _shards(sizes: dict[str, int]) -> list[list[str]]:
    """The names of the tensors of each file, in order."""
    shards: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if size > room:
            shards.append([])
            room = _SHARD
        shards[-1].append(name)
        room -= size
    return shards


class _FourBitTensors:
    """The tensors of a 4-bit checkpoint, which are dequantized when they are read.

    Args:
        folder: The checkpoint.
        dtype: The type of dequantized tensors.

    Attributes:
        sizes: Number of values by tensor name, in the order of the files.
    """

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self._folder = folder
        self._dtype = dtype
        self._locations = checkpoint.tensors(checkpoint.weight_files(folder))
        self._parts: dict[str, list[str]] = {}
        for name in self._locations:
            if part := _PART.fullmatch(name):
                self._parts.setdefault(part["weight"], []).append(name)
        self.sizes = {
            name: prod(location.shape) * (2 if name in self._parts else 1)
            for name, location in self._locations.items()
            if not _PART.fullmatch(name)
        }
        self._check_complete()
        files = {location.file for location in self._locations.values()}
        self._files = {file: safe_open(file, "pt") for file in files}

    def _check_complete(self) -> None:
        packed = {name for name in self.sizes if self._locations[name].dtype == "U8"}
        alone = (packed - self._parts.keys()) | (self._parts.keys() - self.sizes.keys())
        if alone:
            raise self._broken(min(alone), "the weight or its quant state is missing")

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor and dequantize it if needed."""
        stored = self._stored(name)
        if name not in self._parts:
            return stored
        try:
            parts = {part: self._stored(part) for part in self._parts[name]}
            state = QuantState.from_dict(parts, torch.device("cpu"))
            if not _fits(stored, state):
                raise ValueError("the sizes of its parts do not fit each other")
            return _dequantized(stored, state).to(self._dtype)
        except _BROKEN as error:
            raise self._broken(name, f"{type(error).__name__}: {error}") from error

    def _stored(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._files[self._locations[name].file].get_tensor(name)  # type: ignore[no-untyped-call]
        return tensor

    def _broken(self, name: str, why: str) -> ArtifactError:
        return ArtifactError(
            f"The 4-bit base {self._folder} cannot be unpacked at {name}: {why}.",
            fix="Save it again with save_pretrained(), or name the unquantized base.",
        )


def _dequantized(packed: torch.Tensor, state: QuantState) -> torch.Tensor:
    shape = state.shape
    # As one row, because bitsandbytes 0.50.2 with AVX-512 begins a block in every row, which is
    # wrong for rows whose size is not a multiple of the block size.
    state.shape = torch.Size((1, prod(shape)))
    return dequantize_4bit(packed.reshape(-1, 1), state).reshape(shape)


def _fits(packed: torch.Tensor, state: QuantState) -> bool:
    """Whether all sizes agree; bitsandbytes would read past the end of a short tensor."""
    values = prod(state.shape)
    blocks = ceil(values / state.blocksize)
    parts = [(state.absmax, torch.uint8 if state.nested else torch.float32, blocks)]
    if state.nested:
        outer = state.state2
        parts.append((outer.absmax, torch.float32, ceil(blocks / outer.blocksize)))
        parts.append((outer.code, torch.float32, 256))
    return (
        min(state.shape) > 0
        and packed.nbytes == ceil(values / 2)
        and all(part.dtype == dtype and part.numel() == count for part, dtype, count in parts)
    )


def main() -> int:
    """Dequantize and return the exit status."""
    source, target = map(Path, sys.argv[1:])
    try:
        dequantize(source, target)
    except ArtifactError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
