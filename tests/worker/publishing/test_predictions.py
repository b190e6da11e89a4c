"""Predictions read from rows."""

from typing import Any

import pytest

from schemas.applications import Columns
from schemas.gates import Gate
from schemas.rows import Row
from worker.publishing.predictions import Prediction, flips, read_predictions

_COLUMNS = {"id": "ice-1", "question": "What melts?", "answer": "ice", "topic": "ice"}


def _row(score: bool | float = 0.9, columns: dict[str, Any] | None = None, **more: Any) -> Row:
    output = {"answer": "ice", "context": [{"text": "Ice melts."}]} | more.pop("output", {})
    return Row(
        call="call",
        digest="digest",
        columns=_COLUMNS if columns is None else columns,
        output=output,
        scores={"answer_correctness": score, **more},
    )


def _prediction(gate: Gate, row: Row) -> Prediction:
    [found] = read_predictions([row], gate)
    return found


def test_a_prediction_is_read_from_the_rows_columns_and_output(gate: Gate) -> None:
    found = _prediction(gate, _row(output={"confidence": 0.25}))
    assert (found.id, found.input, found.ground_truth) == ("ice-1", "What melts?", "ice")
    assert (found.prediction, found.topic, found.context) == ("ice", "ice", ("Ice melts.",))
    assert (found.score, found.confidence) == (0.9, 0.25)


@pytest.mark.parametrize(
    ("score", "correct"), [(0.5, True), (0.49, False), (True, True), (False, False)]
)
def test_a_score_of_at_least_half_or_true_is_correct(
    gate: Gate, score: bool | float, correct: bool
) -> None:
    assert _prediction(gate, _row(score)).correct == correct


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (_row(0.9), ""),
        (_row(0.1), "answer"),
        (_row(0.1, context_recall=0.5), "retrieval"),
        (_row(0.0, output={"answer": ""}), "no answer"),
    ],
)
def test_the_error_type_is_named(gate: Gate, row: Row, error: str) -> None:
    assert _prediction(gate, row).error_type == error


@pytest.mark.parametrize(
    ("metric", "scores", "score"),
    [
        ("Grounded.rate", {"Grounded.hit": True, "Grounded.sources": 3.0}, 1.0),
        ("Grounded.rate", {"Grounded.sources": 3.0}, 3.0),
        ("Grounded.by.rate", {"Grounded.hit": True}, 1.0),
        ("Grounded.rate", {"Grounded.hit": True, "Grounded.kind": False}, None),
        ("Grounded.sources.mean", {"Grounded.hit": True, "Grounded.sources": 3.0}, 3.0),
        ("Grounded.rate", {"Grounded": 0.25, "Grounded.hit": True}, 0.25),
        ("Grounded.miss.true_fraction", {"Grounded.hit": True}, None),
        ("Ground.rate", {"Grounded.hit": True}, None),
        ("usage.total_tokens", {"Grounded.hit": True}, None),
    ],
)
def test_the_score_of_a_scorer_with_its_own_summary_is_its_only_part(
    gate: Gate, metric: str, scores: dict[str, bool | float], score: float | None
) -> None:
    threshold = gate.thresholds[0].model_copy(update={"metric": metric})
    summarized = gate.model_copy(update={"thresholds": (threshold,)})
    row = _row().model_copy(update={"scores": {**scores, "model_latency": 0.1}})
    assert _prediction(summarized, row).score == score


def _gate_with(gate: Gate, **columns: str) -> Gate:
    return gate.model_copy(update={"columns": Columns.model_validate(columns)})


def _given(columns: dict[str, Any], output: Any) -> Row:
    return Row(call="call", digest="digest", columns=columns, output=output, scores={})


def _shown(gate: Gate, row: Row) -> tuple[str, str, str, tuple[str, ...], str]:
    found = _prediction(gate, row)
    return found.input, found.ground_truth, found.prediction, found.context, found.topic


# The rows of applications as teams write them.
_RETRIEVING = _given(
    {"input": "How long do parcels take?", "target": "2 to 4 days", "area": "shipping"},
    {"response": "2 to 4 days.", "sources": ["shipping"]},
)
_JUDGED = _given({"question": "What is 2 + 2?", "expected": "4"}, "It is 4.")
_CHATTING = _given({"text": "What is 2+2?", "expected": "4"}, "4")
_SELF_LOADING = _given(
    {"query": "Where was it?", "answer": "Geneva"},
    {"result": "In Geneva.", "source_documents": [{"id": "p1", "text": "Held in Geneva."}]},
)


@pytest.mark.parametrize(
    ("row", "columns", "shown"),
    [
        (
            _RETRIEVING,
            {},
            ("How long do parcels take?", "2 to 4 days", "2 to 4 days.", ("shipping",), ""),
        ),
        (
            _RETRIEVING,
            {"topic": "area"},
            ("How long do parcels take?", "2 to 4 days", "2 to 4 days.", ("shipping",), "shipping"),
        ),
        (_JUDGED, {}, ("What is 2 + 2?", "4", "It is 4.", (), "")),
        (_CHATTING, {"input": "text"}, ("What is 2+2?", "4", "4", (), "")),
        (_CHATTING, {"input": "text", "answer": "output"}, ("What is 2+2?", "4", "4", (), "")),
        (_SELF_LOADING, {}, ("Where was it?", "Geneva", "In Geneva.", ("Held in Geneva.",), "")),
    ],
)
def test_the_rows_of_other_applications_are_read(
    gate: Gate, row: Row, columns: dict[str, str], shown: tuple[Any, ...]
) -> None:
    assert _shown(_gate_with(gate, **columns), row) == shown
    if not columns:
        assert _shown(gate, row) == shown


def test_a_gate_names_columns_and_parts_of_the_output(gate: Gate) -> None:
    row = _given(
        {"input": "no", "case": {"ask": "Why?", "gold": ["a", "b"]}, "meta": {"area": "sea"}},
        {"answer": "no", "reply": {"text": "Because."}, "found": [{"docs": "A passage."}]},
    )
    named = _gate_with(
        gate,
        input="case.ask",
        truth="case.gold",
        answer="output.reply.text",
        context="found.0.docs",
        topic="meta.area",
    )
    assert _shown(named, row) == ("Why?", '["a", "b"]', "Because.", ("A passage.",), "sea")


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ("output", "Yes."),
        ("output", {"output": "Yes."}),
        ("output.text", {"text": "Yes.", "answer": "no"}),
        ("text", {"text": "Yes.", "answer": "no"}),
        ("output.text", {"output": {"text": "Yes."}, "answer": "no"}),
    ],
)
def test_a_part_of_the_output_may_begin_with_output(gate: Gate, answer: str, output: Any) -> None:
    row = _given({"question": "Why?"}, output)
    assert _prediction(_gate_with(gate, answer=answer), row).prediction == "Yes."


@pytest.mark.parametrize("name", ["question", "input", "prompt", "query"])
def test_common_names_of_the_question_are_found(gate: Gate, name: str) -> None:
    assert _prediction(gate, _given({"by": "ada", name: "Why?"}, "")).input == "Why?"


@pytest.mark.parametrize("name", ["answer", "ground_truth", "expected", "target", "gold"])
def test_common_names_of_the_expected_answer_are_found(gate: Gate, name: str) -> None:
    assert _prediction(gate, _given({"by": "ada", name: "So."}, "")).ground_truth == "So."


@pytest.mark.parametrize(
    "output",
    [
        {"answer": "So.", "result": "no"},
        {"result": "So."},
        {"response": "So."},
        {"generated_answer": "So."},
        {"reply": "So."},
        {"content": "So."},
        {"output": {"content": "So."}},
        {"text": "So."},
        {"output": "So."},
        {"choices": [{"message": {"role": "assistant", "content": "So."}}]},
        "So.",
    ],
)
def test_common_names_of_the_answer_are_found(gate: Gate, output: Any) -> None:
    if isinstance(output, dict):
        output = {"id": "chatcmpl-7", **output}
    assert _prediction(gate, _given({}, output)).prediction == "So."


@pytest.mark.parametrize(
    "name", ["context", "source_documents", "sources", "documents", "passages"]
)
def test_common_names_of_the_context_are_found(gate: Gate, name: str) -> None:
    output = {"answer": "So.", name: [{"page_content": "A passage."}]}
    assert _prediction(gate, _given({}, output)).context == ("A passage.",)


def test_an_output_without_a_known_answer_is_shown_as_a_whole(gate: Gate) -> None:
    output = {"_type": "Found", "ranks": [1], "_class_name": "Found", "_bases": ["BaseModel"]}
    assert _prediction(gate, _given({}, output)).prediction == '{"ranks": [1]}'


def test_an_answer_that_is_null_is_no_answer(gate: Gate) -> None:
    found = _prediction(gate, _given({}, {"answer": None}))
    assert (found.prediction, found.error_type) == ("", "no answer")


def test_a_row_without_a_column_that_others_have_is_empty_there(gate: Gate) -> None:
    rows = [
        _given({"id": "1", "target": "So.", "answer": "no", "area": "sea"}, {"reply": "So."}),
        _given({"id": "2", "answer": "no"}, {"error": "timeout"}),
    ]
    named = _gate_with(gate, truth="target", topic="area", answer="reply")
    first, second = read_predictions(rows, named)
    assert (first.ground_truth, first.topic, first.prediction) == ("So.", "sea", "So.")
    assert (second.ground_truth, second.topic) == ("", "")
    assert second.prediction == '{"error": "timeout"}'


def test_a_name_that_no_row_has_counts_as_absent(gate: Gate) -> None:
    columns = {"input": "ask", "truth": "gold", "answer": "reply", "context": "docs", "topic": "t"}
    assert _prediction(_gate_with(gate, **columns), _row()) == _prediction(gate, _row())


def test_unknown_columns_are_shown_as_json(gate: Gate) -> None:
    found = _prediction(gate, _row(columns={"text": "What melts?"}))
    assert (found.id, found.ground_truth, found.topic) == ("digest", "", "")
    assert found.input == '{"text": "What melts?"}'


def test_rows_that_exactly_one_got_right_are_flips(gate: Gate) -> None:
    def answers(*scores: float) -> list[Prediction]:
        rows = [_row(score, _COLUMNS | {"id": str(number)}) for number, score in enumerate(scores)]
        return read_predictions(rows, gate)

    found = flips(answers(1.0, 0.0, 1.0, 0.0), answers(1.0, 0.0, 0.0, 1.0))
    assert [(flip.candidate.id, flip.gained) for flip in found] == [("2", True), ("3", False)]
