"""Small models and adapters, and the mark of tests that use a real model server.

peft and transformers take seconds to import, so only what makes a model or an adapter imports them.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.private_folder import make_private_folder
from rehearsal.base_model import BASE_MODEL, base_model
from schemas.settings import Settings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests in test_external.py that use its real vLLM server."""
    for item in items:
        if "vllm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.engine)


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a Unix socket; that of ``tmp_path`` may not be."""
    folder = make_private_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def base_folder() -> Path:
    """The rehearsal's base model, SmolLM2-135M-Instruct."""
    return base_model()


@pytest.fixture
def tiny_models(tmp_path: Path) -> Path:
    """A folder of base models with one tiny random Llama, ``team/tiny``, in two shards."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    folder = tmp_path / "models" / "team" / "tiny"
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder, max_shard_size="20KB")
    return tmp_path / "models"


@pytest.fixture
def tiny_settings(tmp_path: Path, tiny_models: Path) -> Settings:
    return Settings(models_dir=tiny_models, cache_dir=tmp_path / "cache", run_dir=tmp_path / "run")


@pytest.fixture
def tiny_adapter(tmp_path: Path, tiny_models: Path) -> Callable[..., Path]:
    """Makes a random adapter of ``team/tiny`` with the given peft settings."""

    number = itertools.count()

    def make(**settings: Any) -> Path:
        lora = {"target_modules": ["q_proj", "v_proj"]} | settings
        tiny = tiny_models / "team" / "tiny"
        folder = tmp_path / f"adapter-{next(number)}"
        return random_adapter(tiny, folder, name="team/tiny", seed=1, **lora)

    return make


@pytest.fixture(scope="session")
def loud_adapters(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two random adapters of the base model that change every answer."""
    lora: dict[str, Any] = {"r": 4, "target_modules": ["q_proj", "v_proj"]}
    folders = [tmp_path_factory.mktemp("adapter") / str(seed) for seed in (1, 2)]
    for seed, folder in enumerate(folders):
        random_adapter(base_folder, folder, name=BASE_MODEL, seed=seed, **lora)
    return folders


@pytest.fixture(scope="session")
def wide_adapter(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the base model whose rank is too high for LoRA in the tests' engines."""
    folder = tmp_path_factory.mktemp("adapter") / "wide"
    return random_adapter(
        base_folder, folder, name=BASE_MODEL, seed=3, r=16, target_modules=["q_proj"]
    )


@pytest.fixture(scope="session")
def dora_adapter(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the base model that vLLM does not support."""
    lora: dict[str, Any] = {"r": 4, "target_modules": ["q_proj", "v_proj"], "use_dora": True}
    folder = tmp_path_factory.mktemp("adapter") / "dora"
    return random_adapter(base_folder, folder, name=BASE_MODEL, seed=4, **lora)


def random_adapter(base: Path, folder: Path, *, name: str, seed: int, **lora: Any) -> Path:
    """Save an adapter whose A and B are both random (peft itself starts with B = 0).

    Args:
        base: The folder of its base model.
        folder: Where to save it.
        name: The base model's name in its configuration.
        seed: The seed of its weights.
        lora: The arguments of peft's ``LoraConfig``.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**lora))
    torch.manual_seed(seed)
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.15)
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace(str(base), name))
    return folder
