"""Predictions read from rows."""

from typing import Any

import pytest

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
