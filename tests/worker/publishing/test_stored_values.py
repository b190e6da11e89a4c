"""What Weave stored, as people read it."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
import weave
from pydantic import BaseModel
from weave.trace.weave_client import WeaveClient

from worker.publishing.stored_values import as_passages, as_text, paths_in, value_at
from worker.verdict.evidence import read_back

_REF = "weave:///ada/climate/object/Answer:Zk0PqW6sV1uJ9yT3xB7nC5mL8aR2dF4gH6jK1pQ3sU0"
_RECORD = {
    "_type": "Answer",
    "result": "ice",
    "passages": [{"_type": "Passage", "id": 7, "_class_name": "Passage", "_bases": ["BaseModel"]}],
    "_class_name": "Answer",
    "_bases": ["BaseModel"],
}


class Document(BaseModel):
    page_content: str


class Answer(BaseModel):
    result: str
    source_documents: list[Document]


@dataclass
class Reply:
    text: str
    score: float


class Published(weave.Object):
    response: str

    @weave.op
    def shorter(self) -> str:
        return self.response[:10]


class Custom:
    """Neither JSON nor anything that Weave knows."""


class Color(Enum):
    RED = "red"


_RETURNED: dict[str, Any] = {
    "pydantic": Answer(result="ice", source_documents=[Document(page_content="Ice melts.")]),
    "dataclass": Reply("ice", 0.5),
    "weave": Published(response="ice"),
    "custom": Custom(),
    "enum": Color.RED,
    "time": datetime(2026, 1, 1, tzinfo=UTC),
}


class Returns(weave.Model):
    """Returns an object of the kind that a row names."""

    @weave.op
    def predict(self, kind: str) -> Any:
        return _RETURNED[kind]


@weave.op
def scored(output: Any) -> bool:
    return output is not None


def test_objects_are_shown_by_their_fields_as_weave_stored_them(
    weave_project: WeaveClient,
) -> None:
    dataset = weave.Dataset(name="kinds", rows=[{"kind": kind} for kind in _RETURNED])
    evaluation = weave.Evaluation(dataset=dataset, scorers=[scored])
    _, call = asyncio.run(evaluation.evaluate.call(evaluation, Returns()))
    weave_project.flush()
    rows = read_back(weave_project, call.id).rows
    assert {row.columns["kind"]: as_text(row.output) for row in rows} == {
        "pydantic": '{"result": "ice", "source_documents": [{"page_content": "Ice melts."}]}',
        "dataclass": '{"text": "ice", "score": 0.5}',
        "weave": '{"response": "ice"}',
        "custom": f"<{__name__}.Custom object>",
        "enum": "<Color.RED: 'red'>",
        "time": "2026-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ice", "ice"),
        (None, ""),
        (True, "True"),
        (4, "4"),
        (0.5, "0.5"),
        (["eis", "glace", "лёд"], '["eis", "glace", "лёд"]'),
        ({"answer": "ice", "by": None}, '{"answer": "ice", "by": null}'),
        (_RECORD, '{"result": "ice", "passages": [{"id": 7}]}'),
        ({"given": _RECORD}, '{"given": {"result": "ice", "passages": [{"id": 7}]}}'),
        (_REF, _REF),
    ],
)
def test_a_value_is_text(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_a_file_is_shown_by_its_type_and_name() -> None:
    image = {
        "_type": "CustomWeaveType",
        "weave_type": {"type": "PIL.Image.Image"},
        "files": {"image.png": "eJnWztUhWXhv8IOTTfQniNoBowtX2bt3Vtfz9alO9oU"},
        "load_op": "weave:///ada/climate/op/load_PIL.Image.Image:e1nS8rg9KiOooLOkLsYf4NAIYGwv7",
    }
    assert as_text(image) == "<PIL.Image.Image image.png>"
    assert as_text({"chart": image}) == '{"chart": "<PIL.Image.Image image.png>"}'


@pytest.mark.parametrize(
    "value",
    [
        {"_type": "faq", "text": "ice"},
        {"_type": "CustomWeaveType", "weave_type": 5, "files": 6},
        {"_type": 1, "_class_name": 2, "_bases": 3},
        {"name": None, "description": None},
    ],
)
def test_keys_that_only_look_like_weaves_own_are_shown(value: dict[str, Any]) -> None:
    assert json.loads(as_text(value)) == value


def test_a_text_that_only_quotes_an_object_is_shown_in_full() -> None:
    assert as_text("It printed <a.B object at 0x7f>.") == "It printed <a.B object at 0x7f>."


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("answer", "ice"),
        ("given.text", "snow"),
        ("choices.1.text", "hail"),
        ("a.b", "dotted"),
        ("a.c.d", "below a dotted key"),
        ("nothing", None),
    ],
)
def test_a_path_leads_through_keys_and_positions(path: str, found: Any) -> None:
    value = {
        "answer": "ice",
        "given": {"text": "snow"},
        "choices": [{"text": "rain"}, {"text": "hail"}],
        "a.b": "dotted",
        "a.c": {"d": "below a dotted key"},
        "nothing": None,
    }
    assert value_at(value, path) == found


@pytest.mark.parametrize("path", ["b", "a.b", "a.0.b", "list.2", "list.-1", "list.first", "text.0"])
def test_a_path_that_leads_nowhere_is_an_error(path: str) -> None:
    with pytest.raises(LookupError):
        value_at({"a": {"x": 1}, "list": [1, 2], "text": "ice"}, path)


def test_the_paths_in_a_value_are_listed_down_to_the_texts() -> None:
    value = {"id": 1, "meta": {"area": "sea", "empty": {}}, "sources": [{"text": "x"}]}
    assert list(paths_in(value)) == ["id", "meta.area", "meta.empty", "sources"]
    assert list(paths_in(_RECORD)) == ["result", "passages"]
    assert list(paths_in("ice")) == []


@pytest.mark.parametrize(
    ("value", "passages"),
    [
        (["Ice melts.", "It floats."], ["Ice melts.", "It floats."]),
        ([{"text": "Ice melts.", "id": 1}], ["Ice melts."]),
        ([{"page_content": "Ice melts.", "metadata": {}}], ["Ice melts."]),
        ([{"content": "Ice melts."}], ["Ice melts."]),
        ([["Ice melts."], ["It floats."]], ["Ice melts.", "It floats."]),
        ("Ice melts.", ["Ice melts."]),
        ({"text": "Ice melts."}, ["Ice melts."]),
        ([{"url": "https://ice.example"}], ['{"url": "https://ice.example"}']),
        ([3, 5], ["3", "5"]),
        (None, []),
        ("", []),
        ([], []),
    ],
)
def test_passages_are_read_from_any_usual_shape(value: Any, passages: list[str]) -> None:
    assert list(as_passages(value)) == passages
