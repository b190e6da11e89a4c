"""Loads a model version with transformers and peft: a checkpoint or any type of adapter.

For a missing weight, or one of another shape or model, transformers and peft only warn. Here it is
an error, because the loaded model would not be the one that was trained.
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
# The beginning of peft's warning.
_INCOMPLETE = "Found missing adapter keys"
# Largest number of faults in a message.
_MAX_FAULTS = 3


class VersionFiles(BaseModel):
    """The folders of a version and the options for loading it.

    Attributes:
        weights: Folder of the checkpoint, or of the base if there is an adapter.
        tokenizer: Folder of the tokenizer.
        adapter: Folder of a peft adapter.
        dtype: Type of the weights, such as "bfloat16"; None means the checkpoint's own.
        trust_remote_code: Whether code in these folders may run.
    """

    model_config = ConfigDict(extra="forbid")

    weights: Path
    tokenizer: Path
    adapter: Path | None = None
    dtype: str | None = None
    trust_remote_code: bool = False


def load(files: VersionFiles) -> Any:
    """Load a version onto the accelerator, or into memory if there is none.

    An adapter is merged into its base if its type allows that, so that it is as fast as the base.
    Of ``generation_config.json`` only the stop tokens are used, as in vLLM with
    ``--generation-config vllm``: its sampling defaults would make versions differ.

    Returns:
        A transformers model, or a peft model around it.

    Raises:
        ArtifactError: Some weights are missing or have another shape.
    """
    if files.adapter is None:
        return _checkpoint(files)
    # After a failed merge it is loaded again, because parts of it may be merged.
    return _merged(_adapted(files, files.adapter)) or _adapted(files, files.adapter)


def fingerprint(model: Any) -> str:
    """Digest of a model's parameters in memory."""
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
        ignore_mismatched_sizes=True,  # the report names them
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
    if not (folder / _ADAPTER_WEIGHTS).is_file():  # peft would load pickled ones
        raise ArtifactError(f"The adapter {folder} has no {_ADAPTER_WEIGHTS}.")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_INCOMPLETE)
        try:
            model = PeftModel.from_pretrained(_checkpoint(files), folder, is_trainable=False)
        except UserWarning as warning:
            raise ArtifactError(f"The adapter {folder} is not complete: {warning}") from warning
    # Load the weights again, because from_pretrained does not return the unexpected ones.
    unexpected = model.load_adapter(folder, "default", is_trainable=False).unexpected_keys
    # For prompt learning, peft lists the prompts as well.
    if unexpected and not model.active_peft_config.is_prompt_learning:
        raise ArtifactError(
            f"The adapter {folder} changes what its base does not have: {_some(unexpected)}.",
            fix="Set base_model_name_or_path in adapter_config.json to its real base.",
        )
    return model


def _merged(adapted: Any) -> Any:
    """The base with the adapter merged into it; None if its type cannot be merged."""
    # peft 0.21 would merge every replicated layer into their shared weight.
    if getattr(adapted.active_peft_config, "layer_replication", None):
        return None
    try:
        return adapted.merge_and_unload()
    except (AttributeError, RuntimeError, ValueError):  # what peft raises if it cannot
        return None


def _some(faults: list[str]) -> str:
    more = f" and {len(faults) - _MAX_FAULTS} more" if len(faults) > _MAX_FAULTS else ""
    return ", ".join(faults[:_MAX_FAULTS]) + more
