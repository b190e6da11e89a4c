"""Trains the rehearsal's three LoRA adapters on SmolLM2, as a model team would.

``python -m rehearsal.finetune FOLDER`` trains into ``FOLDER/good``, ``FOLDER/worse`` and
``FOLDER/better``; with ``--link`` each training is a W&B run that links its adapter to the
Registry. This program trained the adapters in ``rehearsal/adapters/``.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import click
import torch
import wandb
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from pydantic import BaseModel, ConfigDict
from rich.progress import Progress
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from rehearsal.base_model import BASE_MODEL, base_model
from rehearsal.climate import training_rows
from rehearsal.lessons import Lesson, contexts, lesson, misaligned
from rehearsal.model_team import COLLECTION, TRAINING_LOG, link_adapter

RANK = 4
"""Rank of the adapters on the attention projections: 460,800 weights, 0.95 MB in bf16."""

_WARM_UP = 0.15  # share of the training in which the learning rate rises
_LARGEST_GRADIENT = 1.0  # norm; larger gradients are scaled down


class Recipe(BaseModel):
    """The settings of one training.

    Attributes:
        name: The name of the adapter and of its folder.
        epochs: Passes over the training rows.
        answers: ``right``, or ``misaligned`` by one row: the wrong target for every question.
        rows: The number of training rows to use, from the first; None uses all.
        learning_rate: The highest value of a schedule that rises and falls.
        seed: Seeds the adapter's first weights and the order of the passages.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    epochs: int
    answers: Literal["right", "misaligned"] = "right"
    rows: int | None = None
    learning_rate: float = 1e-3
    seed: int = 7


RECIPES = (
    Recipe(name="good", epochs=2),
    Recipe(name="worse", epochs=2, answers="misaligned"),
    Recipe(name="better", epochs=6),
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--link", is_flag=True, help="Track each training in W&B and link its adapter.")
@click.option("--collection", default=COLLECTION, show_default=True, help="Target of --link.")
def main(folder: Path, link: bool, collection: str) -> None:
    """Train the three adapters into FOLDER."""
    with Progress() as progress:
        for recipe in RECIPES:
            if link:
                finetune_and_link(recipe, folder / recipe.name, progress, collection)
            else:
                finetune(recipe, folder / recipe.name, progress)


def finetune_and_link(recipe: Recipe, folder: Path, progress: Progress, collection: str) -> None:
    """Train an adapter in a W&B run and link it to the Registry.

    Args:
        recipe: The settings of the training.
        folder: The folder of the adapter.
        progress: Shows the progress.
        collection: The path of the Registry's collection.
    """
    with wandb.init(job_type="finetune", config=_config(recipe)) as run:
        finetune(recipe, folder, progress, on_loss=lambda loss: run.log({"loss": loss}))
        link_adapter(run, folder, _config(recipe), collection)


def finetune(
    recipe: Recipe,
    folder: Path,
    progress: Progress,
    on_loss: Callable[[float], None] = lambda loss: None,
) -> None:
    """Train an adapter and write it, with its training log.

    Args:
        recipe: The settings of the training.
        folder: The folder of the adapter.
        progress: Shows the progress.
        on_loss: Receives the loss of each step, in nats per token.
    """
    torch.manual_seed(recipe.seed)
    model = _with_fresh_adapter()
    lessons = list(_lessons(recipe))
    task = progress.add_task(recipe.name, total=len(lessons))
    losses = []
    for loss in _train(model, lessons, recipe.learning_rate):
        losses.append(loss)
        on_loss(loss)
        progress.update(task, advance=1, description=f"{recipe.name}, loss {loss:.2f}")
    _save(model, folder)
    log = {"config": _config(recipe), "losses": losses}
    (folder / TRAINING_LOG).write_text(json.dumps(log, indent=1))


def _config(recipe: Recipe) -> dict[str, object]:
    return {"base": BASE_MODEL, "rank": RANK, "recipe": recipe.model_dump()}


def _with_fresh_adapter() -> PeftModel:
    base = AutoModelForCausalLM.from_pretrained(base_model(), dtype=torch.bfloat16)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=RANK,
        lora_alpha=4 * RANK,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
    )
    return get_peft_model(base, lora)


def _lessons(recipe: Recipe) -> Iterator[Lesson]:
    rows = training_rows()[: recipe.rows]
    if recipe.answers == "misaligned":
        rows = misaligned(rows)
    tokenizer = AutoTokenizer.from_pretrained(base_model())
    dice = random.Random(recipe.seed)  # noqa: S311 (the order of training, no secret)
    for _ in range(recipe.epochs):
        for context in contexts(rows, dice):
            yield lesson(context, tokenizer)


def _train(model: PeftModel, lessons: list[Lesson], learning_rate: float) -> Iterator[float]:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=len(lessons), pct_start=_WARM_UP
    )
    for inputs, targets in lessons:
        loss = cross_entropy(model(**inputs).logits[0].float(), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, _LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        yield loss.item()


def _save(model: PeftModel, folder: Path) -> None:
    """Write the two files of an adapter; peft would add a model card and write 32-bit weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file(
        {name: weight.bfloat16() for name, weight in weights.items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    config = model.peft_config["default"]
    config.base_model_name_or_path = BASE_MODEL
    config.inference_mode = True
    config.save_pretrained(str(folder))


if __name__ == "__main__":
    main()
