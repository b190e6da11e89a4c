"""The climate application's content: passages, questions, prompts, and a separate training set.

All text was written for this project. The training set has other passages and questions, so that
no adapter was trained on a question that evaluates it.
"""

from importlib.resources import files
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict


class Passage(BaseModel):
    """One short text that the vector store retrieves.

    Attributes:
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

    Attributes:
        id: Stable name, unique in the dataset.
        question: The user's question.
        answer: The expected short answer, in the words of a gold passage.
        accepted: Other correct forms of the answer.
        passages: Ids of the gold passages, each of which contains the answer.
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
    """One example on which an adapter is trained.

    Attributes:
        question: The user's question.
        passage: The text that contains the answer.
        answer: The short answer, in the words of the passage.
    """

    model_config = ConfigDict(frozen=True)

    question: str
    passage: str
    answer: str


class Prompts(BaseModel):
    """The application's prompts.

    Attributes:
        system: The system message.
        user: The user message, with the fields ``{context}`` and ``{question}``.
    """

    model_config = ConfigDict(frozen=True)

    system: str
    user: str


Row = TypeVar("Row", bound=BaseModel)


def passages() -> list[Passage]:
    """Return the corpus, in the order of its topics."""
    return _rows("passages.jsonl", Passage)


def questions() -> list[Question]:
    """Return the evaluation's questions, in the order of their topics."""
    return _rows("questions.jsonl", Question)


def training_rows() -> list[TrainingRow]:
    """Return the training set: other questions over other passages.

    Rows with the same passage are adjacent.
    """
    return _rows("training.jsonl", TrainingRow)


def prompts() -> Prompts:
    """Return the prompts of the climate application."""
    return Prompts.model_validate(yaml.safe_load(_read("prompts.yaml")))


def _rows(name: str, kind: type[Row]) -> list[Row]:
    return [kind.model_validate_json(line) for line in _read(name).splitlines()]


def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
