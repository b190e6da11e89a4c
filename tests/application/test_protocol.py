"""Messages between the worker and an application process survive the pipe."""

import json
import math

import pytest
from pydantic import BaseModel

from application.protocol import (
    BatchScored,
    Continue,
    Done,
    Evaluate,
    Failed,
    Prepare,
    Ready,
    RowScored,
    Started,
    Stop,
    encode,
    from_application,
    to_application,
)
from schemas.errors import ConfigurationError, PlatformError
from schemas.rows import Row

_EVALUATE = Evaluate(
    project="local/support",
    model="weave:///local/support/object/SupportBot:abc",
    evaluation="weave:///local/support/object/support_eval:def",
    run_id="run",
    run_step=3,
    concurrency=8,
    modules=("acme.bot", "acme.scorers"),
    allow_stored_code=True,
    batch=8,
)
_ROW = Row(call="", digest="abc", columns={"n": 1}, output=None, scores={"hit": True, "share": 0.0})


@pytest.mark.parametrize("message", [Prepare(modules=("acme.bot",)), _EVALUATE, Continue(), Stop()])
def test_the_application_reads_what_the_worker_sends(message: BaseModel) -> None:
    assert to_application(encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        Ready(python="3.10.13", weave="0.54.0", packages={"openai": "3.52.0"}),
        Started(call="1", rows=3, trials=2),
        RowScored(scores={"hit": True, "share": 1.0, "model_latency": 0.5}),
        BatchScored(rows=(_ROW,)),
        Done(call="1"),
        Failed(kind="ConfigurationError", message="It is missing.", fix="Add it."),
    ],
)
def test_the_worker_reads_what_the_application_sends(message: BaseModel) -> None:
    line = encode(message)
    assert from_application(line) == message
    assert line.index(b"\n") == len(line) - 1


def test_yes_and_no_stay_different_from_numbers() -> None:
    read = from_application(encode(RowScored(scores={"hit": True, "share": 1.0})))
    assert isinstance(read, RowScored)
    assert [type(score) for score in read.scores.values()] == [bool, float]


def test_numbers_that_are_not_finite_survive() -> None:
    sent = RowScored(scores={"a": math.nan, "b": math.inf, "c": -math.inf})
    read = from_application(encode(sent))
    assert isinstance(read, RowScored)
    assert math.isnan(read.scores["a"])
    assert (read.scores["b"], read.scores["c"]) == (math.inf, -math.inf)


def test_a_column_that_is_no_json_becomes_text() -> None:
    class Unspeakable:
        def __repr__(self) -> str:
            raise RuntimeError

    columns = {"one": {1}, "two": Unspeakable(), "three": {(1, 2): 3}}
    read = from_application(
        encode(BatchScored(rows=(_ROW.model_copy(update={"columns": columns}),)))
    )
    assert isinstance(read, BatchScored)
    assert read.rows[0].columns == {"one": "{1}", "two": "<Unspeakable>", "three": {}}


def test_an_error_of_ours_is_raised_in_the_worker_as_it_was() -> None:
    error = Failed.of(ConfigurationError("It is missing.", fix="Add it.")).error()
    assert isinstance(error, ConfigurationError)
    assert (error.message, error.fix) == ("It is missing.", "Add it.")


def test_an_error_of_the_application_may_be_transient() -> None:
    failed = Failed.of(ZeroDivisionError("division by zero"))
    assert failed.kind == "ZeroDivisionError"
    error = failed.error()
    assert type(error) is PlatformError
    assert error.message == "The application raised ZeroDivisionError: division by zero."


def test_an_application_cannot_name_any_class_as_its_error() -> None:
    assert type(Failed(kind="WeighbridgeError", message="?").error()) is PlatformError


@pytest.mark.parametrize("line", [b"printed\n", b"[]\n", b'{"type": "evaluate"}\n', b"\xff\n"])
def test_a_line_that_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (each reader has its own)
        from_application(line)


def test_a_message_of_a_later_version_is_read_without_its_new_fields() -> None:
    line = json.dumps({"type": "done", "call": "1", "new": 1}).encode()
    assert from_application(line) == Done(call="1")
