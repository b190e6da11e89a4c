"""Every type of adapter is loaded as peft itself loads it, and incomplete versions are refused."""

import copy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from engine.transformers_loading import VersionFiles, fingerprint, load
from schemas.errors import ArtifactError

TARGETS = ["q_proj", "v_proj"]
CONFIGS = {
    "LoRA": peft.LoraConfig(r=4, target_modules=TARGETS),
    "LoRA with a module in full": peft.LoraConfig(
        r=4, target_modules=TARGETS, modules_to_save=["norm"]
    ),
    "DoRA": peft.LoraConfig(r=4, target_modules=TARGETS, use_dora=True),
    "IA3": peft.IA3Config(target_modules=TARGETS, feedforward_modules=[]),
    "LoRA over replicated layers": peft.LoraConfig(
        r=4, target_modules=TARGETS, layer_replication=[(0, 2), (1, 2)]
    ),
    "aLoRA": peft.LoraConfig(
        r=4, target_modules=TARGETS, alora_invocation_tokens=[5], task_type="CAUSAL_LM"
    ),
    "prompt tuning": peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
}
MERGED = {"LoRA", "LoRA with a module in full", "DoRA", "IA3"}


@pytest.fixture
def base(tiny_models: Path) -> Path:
    return tiny_models / "team" / "tiny"


def checkpoint(folder: Path) -> Any:
    device = torch.accelerator.current_accelerator(check_available=True)
    return AutoModelForCausalLM.from_pretrained(folder, device_map=device)


def adapter(base: Path, folder: Path, config: Any) -> Path:
    """Save an adapter whose every weight is random."""
    torch.manual_seed(1)
    adapted = peft.get_peft_model(checkpoint(base), copy.copy(config))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn_like(parameter)
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def logits(model: Any) -> torch.Tensor:
    prompt = torch.tensor([[3, 5, 7, 11, 13]], device=model.device)
    with torch.inference_mode():
        result: torch.Tensor = model(input_ids=prompt).logits[:, -1]
    return result


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_loaded_adapter_gives_the_logits_of_peft(kind: str, base: Path, tmp_path: Path) -> None:
    folder = adapter(base, tmp_path / "adapter", CONFIGS[kind])
    expected = logits(peft.PeftModel.from_pretrained(checkpoint(base), folder))
    loaded = load(VersionFiles(weights=base, tokenizer=base, adapter=folder))
    torch.testing.assert_close(logits(loaded), expected)
    assert not torch.allclose(expected, logits(checkpoint(base)), atol=0.01)
    assert isinstance(loaded, peft.PeftModel) == (kind not in MERGED)


def test_a_checkpoint_keeps_its_dtype_by_default(base: Path) -> None:
    stored = load(VersionFiles(weights=base, tokenizer=base))
    converted = load(VersionFiles(weights=base, tokenizer=base, dtype="bfloat16"))
    assert (stored.dtype, converted.dtype) == (torch.float32, torch.bfloat16)


def test_a_fingerprint_depends_on_the_weights(base: Path, tmp_path: Path) -> None:
    folder = adapter(base, tmp_path / "adapter", CONFIGS["LoRA"])
    files = VersionFiles(weights=base, tokenizer=base)
    plain, again = fingerprint(load(files)), fingerprint(load(files))
    adapted = fingerprint(load(files.model_copy(update={"adapter": folder})))
    assert plain == again != adapted


@pytest.mark.parametrize("kind", ["DoRA", "IA3"])
def test_an_incomplete_adapter_is_refused(kind: str, base: Path, tmp_path: Path) -> None:
    folder = adapter(base, tmp_path / "adapter", CONFIGS[kind])
    weights = load_file(folder / "adapter_model.safetensors")
    weights.popitem()
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(ArtifactError, match="is not complete: Found missing adapter keys"):
        load(VersionFiles(weights=base, tokenizer=base, adapter=folder))


def test_an_adapter_of_a_deeper_base_is_refused(base: Path, tmp_path: Path) -> None:
    folder = adapter(base, tmp_path / "adapter", CONFIGS["LoRA"])
    weights = load_file(folder / "adapter_model.safetensors")
    weights |= {
        name.replace("layers.1.", "layers.2."): one.clone() for name, one in weights.items()
    }
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(ArtifactError, match=r"changes what its base does not have: .*layers\.2\."):
        load(VersionFiles(weights=base, tokenizer=base, adapter=folder))


def test_pickled_weights_are_not_loaded(base: Path, tmp_path: Path) -> None:
    folder = adapter(base, tmp_path / "adapter", CONFIGS["LoRA"])
    weights = load_file(folder / "adapter_model.safetensors")
    torch.save(weights, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"has no adapter_model\.safetensors"):
        load(VersionFiles(weights=base, tokenizer=base, adapter=folder))


def test_a_checkpoint_with_missing_or_misshapen_weights_is_refused(base: Path) -> None:
    for file in base.glob("*.safetensors"):
        weights = load_file(file)
        weights.pop("model.norm.weight", None)
        for name in weights:
            if name == "model.layers.0.self_attn.q_proj.weight":
                weights[name] = torch.zeros(32, 16)
        save_file(weights, file, metadata={"format": "pt"})
    reason = (
        r"norm\.weight is missing, .*q_proj\.weight has the shape \(32, 16\) instead of \(32, 32\)"
    )
    with pytest.raises(ArtifactError, match=reason):
        load(VersionFiles(weights=base, tokenizer=base))
