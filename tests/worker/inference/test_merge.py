"""A merged checkpoint equals what peft's own merge_and_unload makes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from schemas.errors import ArtifactError
from worker.inference.merge import merge
from worker.inference.version import Version

MakeAdapter = Callable[..., Path]


def merged_by_us(adapter: Path, models: Path, target: Path) -> dict[str, torch.Tensor]:
    version = Version.open(adapter, models)
    assert version.adapter is not None
    merge(version.adapter, version.base, target)
    return dict(AutoModelForCausalLM.from_pretrained(target).state_dict())


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
    settings: dict[str, object], tiny_adapter: MakeAdapter, tiny_models: Path, tmp_path: Path
) -> None:
    adapter = tiny_adapter(**settings)
    ours = merged_by_us(adapter, tiny_models, tmp_path / "merged")
    theirs = merged_by_peft(adapter, tiny_models / "team" / "tiny")
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-6, msg=name)


def test_a_merge_of_the_real_model_rounds_as_peft_does(
    loud_adapters: list[Path], base_folder: Path, tmp_path: Path
) -> None:
    models = base_folder.parent.parent
    ours = merged_by_us(loud_adapters[0], models, tmp_path / "merged")
    theirs = merged_by_peft(loud_adapters[0], base_folder)
    for name, weight in theirs.items():  # bf16: peft rounds the change, then the sum; we round once
        torch.testing.assert_close(ours[name], weight, rtol=2**-7, atol=2**-8, msg=name)


def test_a_merge_leaves_the_base_as_it_was(
    tiny_adapter: MakeAdapter, tiny_models: Path, tmp_path: Path
) -> None:
    adapter = tiny_adapter(r=4)
    base = tiny_models / "team" / "tiny"
    before = {file.name: file.read_bytes() for file in base.iterdir()}
    merged_by_us(adapter, tiny_models, tmp_path / "merged")
    assert {file.name: file.read_bytes() for file in base.iterdir()} == before


def test_a_merge_takes_the_adapters_own_chat_template(
    tiny_adapter: MakeAdapter, tiny_models: Path, tmp_path: Path
) -> None:
    adapter = tiny_adapter(r=4)
    (adapter / "chat_template.jinja").write_text("the adapter's")
    (tiny_models / "team" / "tiny" / "chat_template.jinja").write_text("the base's")
    merged_by_us(adapter, tiny_models, tmp_path / "merged")
    assert (tmp_path / "merged" / "chat_template.jinja").read_text() == "the adapter's"


def test_an_adapter_of_another_base_is_refused(
    tiny_adapter: MakeAdapter, base_folder: Path, tmp_path: Path
) -> None:
    adapter = tiny_adapter(r=4)
    config = adapter / "adapter_config.json"
    config.write_text(config.read_text().replace("team/tiny", base_folder.name))
    with pytest.raises(ArtifactError, match=r"a change of shape \(32, 32\) for a weight"):
        merged_by_us(adapter, base_folder.parent, tmp_path / "merged")
