"""Models, scorers and fields of the less common kinds."""

from dataclasses import dataclass
from typing import Any

import weave
from pydantic import BaseModel, PrivateAttr


class Client:
    """Neither JSON nor a type that Weave knows."""


class Word(weave.Object):
    text: str

    def said(self) -> str:
        return str(self.text).upper()


class Style(BaseModel):
    mark: str
    words: list[Word]


@dataclass
class Limits:
    most: int


class Base(weave.Model):
    suffix: str = ""
    _ready: list[str] = PrivateAttr(default_factory=list)

    def model_post_init(self, context: Any) -> None:
        self._ready.append("ready")

    @weave.op()
    def forward(self, text: str) -> str:
        return f"{text}{self.suffix} {self._ready[0]}"


class Inherited(Base):
    pass


class Nested(weave.Model):
    words: list[Word]
    by_name: dict[str, Word]
    either: Word | None
    style: Style
    limits: Limits
    prompt: weave.StringPrompt
    messages: weave.MessagesPrompt
    settings: dict[str, Any]
    reference: str
    transform: Any
    client: Client = Client()

    @weave.op()
    async def invoke(self, text: str) -> dict[str, Any]:
        said = [word.said() for word in [*self.words, *self.by_name.values(), *self.style.words]]
        return {
            "said": said,
            "prompt": self.prompt.format(text=text),
            "messages": self.messages.format(text=text),
            "limits": self.limits.most,
        }


class OwnInit(weave.Model):
    word: Word
    number: int = 1

    def __init__(self, text: str = "", **fields: Any) -> None:
        super().__init__(**({"word": Word(text=text)} | fields))

    @weave.op()
    def infer(self, text: str) -> str:
        return self.word.said() + text


class Strict(weave.Model):
    text: str

    def __init__(self, text: str) -> None:
        super().__init__(text=text)

    @weave.op()
    async def predict(self, text: str) -> str:
        return text + str(self.text)


class Raising(weave.Model):
    """Raises on one row, and returns what is no JSON on the others."""

    on: str

    @weave.op()
    def predict(self, text: str) -> Any:
        if text == self.on:
            raise RuntimeError("the model broke")
        return {"client": Client(), "set": {1}, "number": float("nan")}


@weave.op()
def shout(text: str) -> str:
    return text.upper()


@weave.op()
def shorten(text: str) -> str:
    return text[:3]


class Weighted(weave.Scorer):
    """A scorer with an object of its own, and a summary of its own."""

    weight: float
    word: Word

    @weave.op()
    async def score(self, *, output: Any, given: str) -> dict[str, Any]:
        return {"hit": self.word.said() in str(output).upper(), "nothing": float("nan")}

    @weave.op()
    def summarize(self, score_rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {"weighted": self.weight * sum(bool(row.get("hit")) for row in score_rows)}


@weave.op(name="length of it")
def length(output: Any) -> int:
    return len(str(output))


@weave.op()
def as_text(example: dict[str, Any]) -> dict[str, Any]:
    return {"text": example["given"]}


def as_text_too(example: dict[str, Any]) -> dict[str, Any]:
    return {"text": example["given"]}


def nested() -> Nested:
    word = Word(text="b")
    return Nested(
        words=[Word(text="a"), word],
        by_name={"c": Word(text="c")},
        either=word,
        style=Style(mark="!", words=[Word(text="d")]),
        limits=Limits(most=3),
        prompt=weave.StringPrompt("Say {text}"),
        messages=weave.MessagesPrompt([{"role": "user", "content": "{text}?"}]),
        settings={"deep": [{"model": "m", "share": 0.5}]},
        reference="weave:///a/b/object/c:d",
        transform=shorten,
        client=Client(),
    )


def publish(project: str) -> dict[str, str]:
    weave.init(project)
    models = {
        "nested": nested(),
        "inherited": Inherited(suffix="!"),
        "own_init": OwnInit("x"),
        "strict": Strict("y"),
        "raising": Raising(on="two"),
        "shout": shout,
    }
    dataset = weave.Dataset(
        name="odd_rows", rows=[{"given": text} for text in ("one", "two", "three", "four")]
    )
    scorers = [Weighted(weight=0.5, word=Word(text="o")), length]
    evaluations = {
        "evaluation": weave.Evaluation(
            name="odd", dataset=dataset, scorers=scorers, preprocess_model_input=as_text, trials=2
        ),
        "as_a_function": weave.Evaluation(
            name="odd_function",
            dataset=dataset,
            scorers=scorers,
            preprocess_model_input=as_text_too,
        ),
    }
    return {name: weave.publish(one, name).uri for name, one in (models | evaluations).items()}
