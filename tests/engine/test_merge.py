"""The merged weights equal those of peft's merge_and_unload."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from engine.adapter_fit import check_fits
from engine.merge import merged_tensors
from engine.version import Version
from schemas.errors import ArtifactError
from schemas.settings import Settings

MakeAdapter = Callable[..., Path]

# The output layer is the embedding, and is not stored.
TIED = {"lm_head.weight"}


def merged_by_us(adapter: Path, settings: Settings) -> dict[str, torch.Tensor]:
    version = Version.open(adapter, settings)
    assert version.adapter is not None
    check_fits(version.adapter, version.base)
    return dict(merged_tensors(version.adapter, version.base, torch.device("cpu")))


def merged_by_peft(adapter: Path, base: Path) -> dict[str, torch.Tensor]:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    return dict(model.merge_and_unload().state_dict())


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4, "lora_alpha": 6},
        {"r": 4, "lora_alpha": 6, "use_rslora": True},
        {"r": 4, "rank_pattern": {"layers.1.self_attn.q_proj": 2}},
        {"r": 4, "alpha_pattern": {"v_proj": 32}},
        {"r": 4, "target_modules": "all-linear"},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_a_merge_gives_the_weights_that_peft_gives(
    settings: dict[str, object],
    tiny_adapter: MakeAdapter,
    tiny_models: Path,
    tiny_settings: Settings,
) -> None:
    adapter = tiny_adapter(**settings)
    ours = merged_by_us(adapter, tiny_settings)
    theirs = merged_by_peft(adapter, tiny_models / "team" / "tiny")
    assert ours.keys() == theirs.keys() - TIED
    for name, weight in theirs.items():
        if name not in TIED:
            torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-6, msg=name)


def test_a_merge_of_the_real_model_rounds_as_peft_does(
    loud_adapters: list[Path], base_folder: Path, engine_settings: Settings
) -> None:
    ours = merged_by_us(loud_adapters[0], engine_settings)
    theirs = merged_by_peft(loud_adapters[0], base_folder)
    for name, weight in theirs.items():  # bf16: peft rounds the change, then the sum; we round once
        if name not in TIED:
            torch.testing.assert_close(ours[name], weight, rtol=2**-7, atol=2**-8, msg=name)


def test_an_adapter_of_another_base_is_refused(
    tiny_adapter: MakeAdapter, base_folder: Path, tiny_settings: Settings
) -> None:
    adapter = tiny_adapter(r=4)
    config = adapter / "adapter_config.json"
    config.write_text(config.read_text().replace("team/tiny", str(base_folder)))
    with pytest.raises(ArtifactError, match=r"a change of shape \(32, 32\) for model.layers.0"):
        merged_by_us(adapter, tiny_settings)


def test_a_truncated_pair_of_matrices_is_refused(
    tiny_adapter: MakeAdapter, tiny_settings: Settings
) -> None:
    adapter = tiny_adapter(r=4)
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    lost = next(name for name in tensors if "lora_B" in name)
    del tensors[lost]
    save_file(tensors, weights)
    with pytest.raises(ArtifactError, match="which cannot be multiplied"):
        merged_by_us(adapter, tiny_settings)
