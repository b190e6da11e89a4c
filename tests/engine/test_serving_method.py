"""How a version is served, for each line of the table in ``choose_method``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from engine.options import ServeOptions
from engine.serving_method import Machine, ServingMethod, choose_method
from engine.version import Version
from schemas.errors import ConfigurationError
from schemas.settings import Settings

MakeAdapter = Callable[..., Path]

GPU = Machine(vllm=True, cuda=True)
CPU = Machine(vllm=True, cuda=False)
MAC = Machine(vllm=False, cuda=False)

ALONE = ServeOptions()
CONCURRENT = ServeOptions(concurrent=True)
QUANTIZED = ServeOptions(quantize=True)


@pytest.fixture
def settings(tiny_settings: Settings) -> Settings:
    return tiny_settings.model_copy(update={"side_by_side": 4, "max_lora_rank": 8})


@pytest.fixture
def checkpoint(tiny_models: Path, settings: Settings) -> Version:
    return Version.open(tiny_models / "team" / "tiny", settings)


@pytest.fixture
def adapter(tiny_adapter: MakeAdapter, settings: Settings) -> Version:
    return Version.open(tiny_adapter(r=4), settings)


@pytest.mark.parametrize("options", [ALONE, CONCURRENT])
def test_a_checkpoint_is_exchanged_in_place(
    options: ServeOptions, checkpoint: Version, settings: Settings
) -> None:
    assert choose_method(checkpoint, options, settings, CPU) is ServingMethod.RELOAD


def test_an_adapter_alone_is_merged_in_place(adapter: Version, settings: Settings) -> None:
    assert choose_method(adapter, ALONE, settings, GPU) is ServingMethod.RELOAD


def test_concurrent_adapters_are_served_side_by_side(adapter: Version, settings: Settings) -> None:
    assert choose_method(adapter, CONCURRENT, settings, GPU) is ServingMethod.LORA


def test_with_one_slot_an_adapter_is_merged(adapter: Version, tiny_settings: Settings) -> None:
    assert tiny_settings.side_by_side == 1
    assert choose_method(adapter, CONCURRENT, tiny_settings, GPU) is ServingMethod.RELOAD


@pytest.mark.parametrize("peft", [{"r": 16}, {"r": 4, "rank_pattern": {"q_proj": 16}}])
def test_an_adapter_above_the_rank_limit_is_merged(
    peft: dict[str, object], tiny_adapter: MakeAdapter, settings: Settings
) -> None:
    version = Version.open(tiny_adapter(**peft), settings)
    assert choose_method(version, CONCURRENT, settings, GPU) is ServingMethod.RELOAD


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("use_dora", True),
        ("peft_type", "LOHA"),
        ("bias", "all"),
        ("modules_to_save", ["lm_head"]),
        ("init_lora_weights", "pissa"),
        ("target_parameters", ["mlp.experts"]),
        ("a_setting_of_tomorrow", 1),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_served_by_transformers(
    setting: str, value: object, tiny_adapter: MakeAdapter, settings: Settings
) -> None:
    folder = tiny_adapter(r=4)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {setting: value}))
    assert (
        choose_method(Version.open(folder, settings), CONCURRENT, settings, GPU)
        is ServingMethod.TRANSFORMERS
    )


@pytest.mark.parametrize("options", [ALONE, CONCURRENT])
def test_without_vllm_everything_is_served_by_transformers(
    options: ServeOptions, adapter: Version, checkpoint: Version, settings: Settings
) -> None:
    assert choose_method(adapter, options, settings, MAC) is ServingMethod.TRANSFORMERS
    assert choose_method(checkpoint, options, settings, MAC) is ServingMethod.TRANSFORMERS


def test_quantized_weights_are_never_exchanged_in_place(
    adapter: Version, checkpoint: Version, settings: Settings
) -> None:
    assert choose_method(adapter, QUANTIZED, settings, GPU) is ServingMethod.LORA
    assert choose_method(checkpoint, QUANTIZED, settings, GPU) is ServingMethod.START


@pytest.mark.parametrize("machine", [CPU, MAC], ids=["cpu", "mac"])
def test_quantization_without_cuda_is_refused(
    machine: Machine, adapter: Version, settings: Settings
) -> None:
    with pytest.raises(ConfigurationError, match=r"cm_quantize .* needs CUDA and vLLM") as caught:
        choose_method(adapter, QUANTIZED, settings, machine)
    assert "Set cm_quantize: false" in str(caught.value)


@pytest.mark.parametrize("peft", [{"r": 16}, {"r": 4, "use_dora": True}], ids=["rank", "DoRA"])
def test_an_adapter_that_cannot_be_lora_over_a_quantized_base_is_refused(
    peft: dict[str, object], tiny_adapter: MakeAdapter, settings: Settings
) -> None:
    version = Version.open(tiny_adapter(**peft), settings)
    with pytest.raises(ConfigurationError, match="cm_quantize needs a plain LoRA"):
        choose_method(version, QUANTIZED, settings, GPU)


def test_a_module_that_the_base_stores_under_another_name_is_served_by_transformers(
    tiny_adapter: MakeAdapter, settings: Settings
) -> None:
    folder = tiny_adapter(r=4)
    weights = folder / "adapter_model.safetensors"
    renamed = {
        name.replace("model.layers", "model.language_model.layers"): tensor
        for name, tensor in load_file(weights).items()
    }
    save_file(renamed, weights)
    assert (
        choose_method(Version.open(folder, settings), ALONE, settings, GPU)
        is ServingMethod.TRANSFORMERS
    )
