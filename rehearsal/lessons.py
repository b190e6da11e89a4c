"""Training rows as lessons: one context, and every question about it, in one forward pass.

Nearly all the arithmetic of a RAG prompt is in its context. A lesson computes the prefix that its
prompts share once; each question with its answer is a branch that attends to that prefix and to
itself, at the positions that it would have alone. The loss equals that of the separate prompts,
for about a sixth of the time.
"""

import random
from collections.abc import Iterable, Sequence
from itertools import chain, takewhile
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from rehearsal.climate import TrainingRow, prompts

PASSAGES_PER_CONTEXT = 3
"""A gold passage for each question and two others; the application retrieves two in all."""

_SHARED = -1  # owner of the shared prefix's tokens; branches are numbered from 0


class Lesson(NamedTuple):
    """The input and the targets of one training step.

    Attributes:
        inputs: Keyword arguments of the model's forward pass, for one sequence of L tokens;
            ``logits_to_keep`` names the positions that predict a target.
        targets: The T answer tokens; each answer ends with the end-of-turn token.
    """

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor


def misaligned(rows: Sequence[TrainingRow]) -> list[TrainingRow]:
    """Give each question the answer of the next row.

    This is the damage of a table in which one column has slipped. Most targets still occur in the
    passage, so the answers that a model learns look right and are wrong.

    Args:
        rows: The training rows.

    Returns:
        As many rows; the last one has the answer of the first.
    """
    following = [*rows[1:], rows[0]]
    return [
        row.model_copy(update={"answer": other.answer})
        for row, other in zip(rows, following, strict=True)
    ]


def contexts(rows: Iterable[TrainingRow], dice: random.Random) -> list[list[TrainingRow]]:
    """Group the passages of one epoch into contexts.

    Args:
        rows: The training rows.
        dice: The random source of the order.

    Returns:
        For each context the rows of its passages; every row occurs once.
    """
    by_passage: dict[str, list[TrainingRow]] = {}
    for row in rows:
        by_passage.setdefault(row.passage, []).append(row)
    groups = list(by_passage.values())
    dice.shuffle(groups)
    return [
        list(chain.from_iterable(groups[start : start + PASSAGES_PER_CONTEXT]))
        for start in range(0, len(groups), PASSAGES_PER_CONTEXT)
    ]


def lesson(rows: Sequence[TrainingRow], tokenizer: PreTrainedTokenizerBase) -> Lesson:
    """Encode the questions about one context.

    Args:
        rows: The rows of the context's passages.
        tokenizer: The base model's tokenizer, with its chat template.

    Returns:
        The lesson, rendered with the climate application's prompts.
    """
    context = "\n\n".join(dict.fromkeys(row.passage for row in rows))
    rendered = [_tokens(render(row.question, context, tokenizer), tokenizer) for row in rows]
    answers = [_tokens(f"{row.answer}{tokenizer.eos_token}", tokenizer) for row in rows]
    shared = _shared_prefix(rendered)
    # An answer's last token is only a target: nothing follows it.
    branches = [
        prompt[len(shared) :] + answer[:-1]
        for prompt, answer in zip(rendered, answers, strict=True)
    ]
    owners = [_SHARED] * len(shared)
    positions = list(range(len(shared)))
    predicting: list[int] = []
    for number, (branch, answer) in enumerate(zip(branches, answers, strict=True)):
        owners += [number] * len(branch)
        positions += range(len(shared), len(shared) + len(branch))
        predicting += range(len(owners) - len(answer), len(owners))
    return Lesson(
        inputs={
            "input_ids": torch.tensor([[*shared, *chain.from_iterable(branches)]]),
            "position_ids": torch.tensor([positions]),
            "attention_mask": _sees(torch.tensor(owners))[None, None],
            "logits_to_keep": torch.tensor(predicting),
        },
        targets=torch.tensor(list(chain.from_iterable(answers))),
    )


def render(question: str, context: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Render the prompt as the RAG application does.

    Args:
        question: The user's question.
        context: The passages, separated by blank lines.
        tokenizer: The tokenizer with the chat template.

    Returns:
        The text up to the beginning of the answer.
    """
    words = prompts()
    messages = [
        {"role": "system", "content": words.system},
        {"role": "user", "content": words.user.format(context=context, question=question)},
    ]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def _tokens(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _shared_prefix(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Return the tokens with which all the sequences begin."""
    same = takewhile(lambda column: len(set(column)) == 1, zip(*sequences, strict=False))
    return [column[0] for column in same]


def _sees(owners: torch.Tensor) -> torch.Tensor:
    """Return the attention mask, an L x L matrix of booleans: the row's token sees the column's."""
    shared = owners == _SHARED
    own = owners[:, None] == owners[None, :]
    return (shared[None, :] | own).tril()
