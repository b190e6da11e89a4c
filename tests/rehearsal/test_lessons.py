import random
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from rehearsal.base_model import base_model
from rehearsal.climate import TrainingRow, training_rows
from rehearsal.lessons import contexts, lesson, misaligned, render


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(base_model())


@pytest.fixture
def rows() -> list[TrainingRow]:
    return training_rows()[:6]  # two passages


@pytest.fixture
def small_model(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    build: Any = LlamaForCausalLM
    return build(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
        )
    ).eval()


def test_a_lesson_has_the_loss_of_its_separate_prompts(
    tokenizer: Any, rows: list[TrainingRow], small_model: Any
) -> None:
    together = lesson(rows, tokenizer)
    context = "\n\n".join(dict.fromkeys(row.passage for row in rows))
    alone = []
    for row in rows:
        prompt = tokenizer(render(row.question, context, tokenizer)).input_ids
        answer = tokenizer(f"{row.answer}<|im_end|>").input_ids
        logits = small_model(torch.tensor([prompt + answer])).logits[0]
        alone.append(logits[len(prompt) - 1 : -1])
    one_by_one = cross_entropy(torch.cat(alone), together.targets)
    at_once = cross_entropy(small_model(**together.inputs).logits[0], together.targets)
    torch.testing.assert_close(at_once, one_by_one)


def test_a_prompt_has_the_passages_before_the_question(
    tokenizer: Any, rows: list[TrainingRow]
) -> None:
    prompt = render(rows[0].question, rows[0].passage, tokenizer)
    assert prompt.index(rows[0].passage) < prompt.index(rows[0].question)
    assert prompt.endswith("<|im_start|>assistant\n")


def test_an_epoch_contains_every_row_once(rows: list[TrainingRow]) -> None:
    everything = training_rows()
    dealt = [row for context in contexts(everything, random.Random(1)) for row in context]
    assert sorted(row.question for row in dealt) == sorted(row.question for row in everything)


def test_misaligned_rows_keep_their_questions_and_get_other_answers(
    rows: list[TrainingRow],
) -> None:
    slipped = misaligned(rows)
    assert [row.question for row in slipped] == [row.question for row in rows]
    assert sorted(row.answer for row in slipped) == sorted(row.answer for row in rows)
    assert all(wrong.answer != row.answer for wrong, row in zip(slipped, rows, strict=True))
