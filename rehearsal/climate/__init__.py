"""The climate application's content: passages, questions, prompts, and a training set beside them.

All text was written for this project. The training set has its own passages and questions, so
that no adapter has seen a question that weighs it.
"""

from importlib.resources import files
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict


class Passage(BaseModel):
    """One short text that the vector store retrieves.

    Args:
        id: Stable name, unique in the corpus.
        title: A line that names the text.
        text: The text, 40 to 80 words.
        topic: One of the corpus's topics.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    text: str
    topic: str


class Question(BaseModel):
    """One row of the published evaluation's dataset.

    Args:
        id: Stable name, unique in the dataset.
        question: What the user asks.
        answer: The expected short answer, in the words of a gold passage.
        accepted: Other forms that are as right.
        passages: Ids of the gold passages, each of which holds the answer.
        topic: One of the corpus's topics.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    question: str
    answer: str
    accepted: list[str]
    passages: list[str]
    topic: str


class TrainingRow(BaseModel):
    """One example that an adapter is trained on.

    Args:
        question: What the user asks.
        passage: The text that holds the answer.
        answer: The short answer, in the words of the passage.
    """

    model_config = ConfigDict(frozen=True)

    question: str
    passage: str
    answer: str


class Prompts(BaseModel):
    """The application's prompts.

    Args:
        system: The system message.
        user: The user message, with the fields ``{context}`` and ``{question}``.
    """

    model_config = ConfigDict(frozen=True)

    system: str
    user: str


Row = TypeVar("Row", bound=BaseModel)


def passages() -> list[Passage]:
    """The corpus, in the order of its topics.

    Returns:
        Every passage.
    """
    return _rows("passages.jsonl", Passage)


def questions() -> list[Question]:
    """The evaluation's questions, in the order of their topics.

    Returns:
        Every question.
    """
    return _rows("questions.jsonl", Question)


def training_rows() -> list[TrainingRow]:
    """The training set: other questions over other passages.

    Returns:
        Every example; rows with the same passage stand together.
    """
    return _rows("training.jsonl", TrainingRow)


def prompts() -> Prompts:
    """The prompts of the climate application.

    Returns:
        The system and the user prompt.
    """
    return Prompts.model_validate(yaml.safe_load(_read("prompts.yaml")))


def _rows(name: str, kind: type[Row]) -> list[Row]:
    return [kind.model_validate_json(line) for line in _read(name).splitlines()]


def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
