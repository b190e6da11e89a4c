"""Recognizes what a downloaded model version is, and refuses what must not be loaded.

| the folder holds                               | result                                     |
|------------------------------------------------|--------------------------------------------|
| adapter_config.json, adapter_model.safetensors | an `Adapter`                               |
| config.json, *.safetensors                     | a `Checkpoint`                             |
| pickled weights, code, links, paths outside it | refused, because loading it could run code |
| anything else                                  | refused, because it is not a model         |

This module reads only file names, JSON and safetensors headers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine import checkpoint
from engine.file_rules import ListedFile, refuse_unsafe
from schemas.errors import ArtifactError

# Fields of adapter_config.json (peft 0.21) about training and storage. Any other field that is set
# changes the weights in a way that W + scaling * B @ A does not express.
_NO_EFFECT_ON_WEIGHTS = frozenset(
    {
        "auto_mapping", "eva_config", "exclude_modules", "inference_mode", "layers_pattern",
        "layers_to_transform", "loftq_config", "lora_dropout", "megatron_core", "peft_version",
        "qalora_group_size", "runtime_config", "target_modules", "task_type",
    }
)  # fmt: skip
# Initializations of A and B that do not change the base; PiSSA, OLoRA and others do.
_BASE_KEEPING_INITS = frozenset({True, False, None, "gaussian", "orthogonal", "eva"})


class AdapterConfig(BaseModel):
    """The part of ``adapter_config.json`` that a merge needs; other fields are kept as extras.

    Attributes:
        peft_type: Type of the adapter, such as "LORA".
        r: Rank.
        rank_pattern: Other ranks, by the end of a module's name (a regular expression).
        base_model_name_or_path: The model on which the adapter was trained.
        revision: Revision of that model on the hub; None means the main branch.
        lora_alpha: Numerator of the scaling.
        alpha_pattern: Other numerators, by the end of a module's name (a regular expression).
        use_rslora: Whether the denominator is sqrt(r) instead of r.
        fan_in_fan_out: Whether the base stores weights as (inputs, outputs).
        bias: Which biases were trained; only "none" can be merged.
        init_lora_weights: How A and B were initialized.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    peft_type: str
    base_model_name_or_path: str = Field(min_length=1)
    revision: str | None = None
    r: int = 8
    rank_pattern: dict[str, int] = {}
    lora_alpha: float = 8
    alpha_pattern: dict[str, float] = {}
    use_rslora: bool = False
    fan_in_fan_out: bool = False
    bias: str = "none"
    init_lora_weights: bool | str | None = True

    def unmergeable(self) -> list[str]:
        """The settings that a merge does not support, as ``name=value``."""
        found: dict[str, Any] = {
            name: value
            for name, value in (self.model_extra or {}).items()
            if value and name not in _NO_EFFECT_ON_WEIGHTS
        }
        if self.peft_type != "LORA":
            found["peft_type"] = self.peft_type
        if self.bias != "none":
            found["bias"] = self.bias
        if self.init_lora_weights not in _BASE_KEEPING_INITS:
            found["init_lora_weights"] = self.init_lora_weights
        return [f"{name}={value}" for name, value in sorted(found.items())]


class Adapter(BaseModel):
    """A peft adapter."""

    folder: Path
    config: AdapterConfig


class Checkpoint(BaseModel):
    """A complete checkpoint."""

    folder: Path


def open_version(folder: Path, *, trust_remote_code: bool = False) -> Adapter | Checkpoint:
    """Check a downloaded version and recognize what it is.

    Args:
        folder: Folder of the download.
        trust_remote_code: Accept model code: ``*.py`` files, and configurations with auto_map.

    Returns:
        The version, which is safe to load.

    Raises:
        ArtifactError: The version is refused; the message names the file or the setting.
    """
    refuse_unsafe(_files(folder), str(folder), trust_remote_code=trust_remote_code)
    if not trust_remote_code:
        _refuse_auto_map(folder)
    if (folder / "adapter_config.json").is_file():
        return _adapter(folder)
    if (folder / "config.json").is_file():
        return _checkpoint(folder)
    raise ArtifactError(
        f"{folder} is neither an adapter (adapter_config.json) nor a checkpoint (config.json).",
        fix="Log the folder that save_pretrained() wrote, with its files at the top.",
    )


@contextmanager
def named_in_errors(folder: Path, name: str) -> Iterator[None]:
    """Replace a version's folder in errors by the name that its author knows."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(error.message.replace(str(folder), name), fix=error.fix) from error


def _adapter(folder: Path) -> Adapter:
    config = read_adapter_config(folder)
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise ArtifactError(
            f"The adapter {folder} has no adapter_model.safetensors.",
            fix="Log the folder that peft's save_pretrained() wrote.",
        )
    _refuse_outside(config, folder)
    checkpoint.tensors([weights])
    return Adapter(folder=folder, config=config)


def _refuse_outside(config: AdapterConfig, folder: Path) -> None:
    """Refuse settings that make peft (0.21) import a module or read other folders."""
    megatron = (config.model_extra or {}).get("megatron_config")
    if megatron or config.peft_type == "XLORA":
        setting = "megatron_config" if megatron else "peft_type=XLORA"
        raise ArtifactError(
            f"The adapter {folder} has {setting}, which reaches outside of its folder.",
            fix="Merge it where it was trained (merge_and_unload) and log the checkpoint.",
        )


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read an adapter's ``adapter_config.json``.

    Raises:
        ArtifactError: It is missing or invalid.
    """
    try:
        return AdapterConfig.model_validate(checkpoint.read_json(folder / "adapter_config.json"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(
            f"{folder / 'adapter_config.json'}: {where}: {first['msg']}.",
            fix="Log the folder that peft's save_pretrained() wrote.",
        ) from error


def _checkpoint(folder: Path) -> Checkpoint:
    if not checkpoint.tensors(checkpoint.weight_files(folder)):
        raise ArtifactError(
            f"The checkpoint {folder} has no *.safetensors weights.",
            fix="Save it with save_pretrained(), which writes safetensors.",
        )
    return Checkpoint(folder=folder)


def _files(folder: Path) -> Iterator[ListedFile]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise ArtifactError(
                f"{name} in {folder} is a link.", fix="Log the file itself instead of a link."
            )
        if path.is_file():
            yield ListedFile(path=name, size=path.stat().st_size)


def _refuse_auto_map(folder: Path) -> None:
    # The configuration of a tokenizer or a processor may name code, too.
    for file in sorted(folder.glob("*config.json")):
        if "auto_map" in checkpoint.read_json(file):
            raise ArtifactError(
                f"{file} has auto_map, which makes loaders run code.",
                fix="Push a model of an architecture that transformers and vLLM already have.",
            )
