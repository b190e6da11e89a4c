import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from rich.progress import Progress
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import rehearsal
from rehearsal.base_model import BASE_MODEL, base_model
from rehearsal.finetune import RECIPES, Recipe, finetune
from rehearsal.model_team import TRAINING_LOG

ADAPTERS = Path(rehearsal.__file__).parent / "adapters"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter after two steps on two passages."""
    folder = tmp_path_factory.mktemp("adapters") / "tiny"
    with Progress(disable=True) as progress:
        finetune(Recipe(name="tiny", epochs=2, rows=14), folder, progress)
    return folder


def test_a_training_writes_an_adapter_that_changes_the_base_model(trained: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(base_model(), dtype=torch.bfloat16)
    model: Any = PeftModel.from_pretrained(base, str(trained))
    words = torch.tensor([[1, 100, 1000]])
    with torch.inference_mode():
        after = model(words).logits
        with model.disable_adapter():
            before = model(words).logits
    assert not torch.equal(before, after)


def test_a_training_log_has_the_recipe_and_a_finite_loss_for_each_step(trained: Path) -> None:
    log = json.loads((trained / TRAINING_LOG).read_text())
    assert log["config"]["recipe"]["name"] == "tiny"
    assert len(log["losses"]) == 2
    assert all(math.isfinite(loss) for loss in log["losses"])


def test_an_adapter_consists_of_small_safetensors_and_its_configuration(trained: Path) -> None:
    check_files(trained)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_repository_has_the_adapter_of_each_recipe(recipe: Recipe) -> None:
    folder = ADAPTERS / recipe.name
    check_files(folder)
    log = json.loads((folder / TRAINING_LOG).read_text())
    assert log["config"]["recipe"] == recipe.model_dump()


def check_files(folder: Path) -> None:
    names = {file.name for file in folder.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", TRAINING_LOG}
    assert sum(file.stat().st_size for file in folder.iterdir()) <= MEGABYTE
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == BASE_MODEL
    weights = load_file(folder / "adapter_model.safetensors")
    assert all(weight.dtype == torch.bfloat16 for weight in weights.values())
    assert all(weight.isfinite().all() for weight in weights.values())
