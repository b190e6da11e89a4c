"""Loads a model version with transformers and peft: a checkpoint, or any kind of adapter.

What they would load with a warning only (a weight that is missing, of another shape, or of another
model) is refused here: such a model answers, but not as the one that was trained.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from pydantic import BaseModel, ConfigDict
from transformers import AutoModelForCausalLM, GenerationConfig

from engine.weight_digest import WeightDigest
from schemas.errors import ArtifactError

_ADAPTER_WEIGHTS = "adapter_model.safetensors"
# How peft's warning begins.
_INCOMPLETE = "Found missing adapter keys"
# Faults that a message names.
_NAMED = 3


class VersionFiles(BaseModel):
    """Where a version lies and how it is loaded.

    Attributes:
        weights: Checkpoint folder; the base's if there is an adapter.
        tokenizer: Folder of the tokenizer.
        adapter: Folder of a peft adapter.
        dtype: Type of the weights, as "bfloat16"; None is the checkpoint's own.
        trust_remote_code: Whether code in these folders may run.
    """

    model_config = ConfigDict(extra="forbid")

    weights: Path
    tokenizer: Path
    adapter: Path | None = None
    dtype: str | None = None
    trust_remote_code: bool = False


def load(files: VersionFiles) -> Any:
    """Load a version onto the accelerator, or into memory where there is none.

    An adapter is merged into its base if its kind allows it, so that it is as fast as the base.
    Of ``generation_config.json`` only the stop tokens are kept, as vLLM is told to do: its
    sampling defaults would make versions differ by what no gate asked for.

    Returns:
        A transformers model, or a peft model around it.

    Raises:
        ArtifactError: Some weights are missing or do not fit.
    """
    if files.adapter is None:
        return _checkpoint(files)
    # Loaded again if it cannot be merged: it may be merged in parts by then.
    return _merged(_adapted(files, files.adapter)) or _adapted(files, files.adapter)


def fingerprint(model: Any) -> str:
    """Names the parameters that a model has in memory."""
    digest = WeightDigest()
    for name, parameter in model.named_parameters():
        digest.add(name, parameter)
    return digest.hexdigest()


def _checkpoint(files: VersionFiles) -> Any:
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        files.weights,
        dtype=files.dtype or "auto",
        device_map=torch.accelerator.current_accelerator(check_available=True),
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=files.trust_remote_code,
        ignore_mismatched_sizes=True,  # they are in the report, with their names
        output_loading_info=True,
    )
    model, report = loaded
    faults = [f"{name} is missing" for name in sorted(report["missing_keys"])]
    faults += [
        f"{name} has the shape {tuple(found)} instead of {tuple(expected)}"
        for name, found, expected in sorted(report["mismatched_keys"])
    ]
    if faults:
        raise ArtifactError(
            f"The weights in {files.weights} do not fit their config.json: {_some(faults)}.",
            fix="Save weights and configuration together, with save_pretrained().",
        )
    stops = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig(eos_token_id=stops)  # type: ignore[no-untyped-call]
    return model


def _adapted(files: VersionFiles, folder: Path) -> Any:
    if not (folder / _ADAPTER_WEIGHTS).is_file():  # peft would look for pickled ones
        raise ArtifactError(f"The adapter {folder} has no {_ADAPTER_WEIGHTS}.")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_INCOMPLETE)
        try:
            model = PeftModel.from_pretrained(_checkpoint(files), folder, is_trainable=False)
        except UserWarning as warning:
            raise ArtifactError(f"The adapter {folder} is not complete: {warning}") from warning
    # The weights once more, because from_pretrained does not tell which ones had no place.
    strange = model.load_adapter(folder, "default", is_trainable=False).unexpected_keys
    if strange and not model.active_peft_config.is_prompt_learning:  # peft lists its prompts, too
        raise ArtifactError(
            f"The adapter {folder} changes what its base does not have: {_some(strange)}.",
            fix="Name the base that it was trained on in adapter_config.json.",
        )
    return model


def _merged(adapted: Any) -> Any:
    """The base with the adapter merged into it; None if its kind cannot be merged."""
    # peft 0.21 would merge each of the replicated layers into the one weight that they share.
    if getattr(adapted.active_peft_config, "layer_replication", None):
        return None
    try:
        return adapted.merge_and_unload()
    except (AttributeError, RuntimeError, ValueError):  # the ways in which peft says so
        return None


def _some(faults: list[str]) -> str:
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return ", ".join(faults[:_NAMED]) + more
