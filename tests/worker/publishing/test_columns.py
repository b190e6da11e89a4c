"""Where the report finds a question, an answer and a topic."""

from typing import Any

import pytest

from schemas.applications import Columns
from schemas.rows import Row
from worker.publishing.columns import explain_unknown


def _row(columns: dict[str, Any], output: Any) -> Row:
    return Row(call="call", digest="digest", columns=columns, output=output, scores={})


_ROWS = [
    _row({"input": "Why?", "meta": {"topic": "sea"}}, {"response": "So.", "sources": ["a"]}),
    _row({"input": "How?", "target": "By ship."}, {"response": "So.", "error": "late"}),
]


@pytest.mark.parametrize(
    "columns",
    [
        None,
        Columns(),
        Columns(input="input", truth="target", topic="meta.topic"),
        Columns(answer="output.response", context="sources"),
        Columns(answer="output", context="error"),
    ],
)
def test_names_that_some_row_has_need_no_remark(columns: Columns | None) -> None:
    assert explain_unknown(columns, _ROWS) == ()


def test_a_column_that_no_row_has_is_named_with_those_that_exist() -> None:
    assert explain_unknown(Columns(topic="meta.area"), _ROWS) == (
        "columns.topic: meta.area is in no row. The columns of the dataset are input, meta.topic"
        " and target. Common names were tried instead.",
    )


def test_a_part_that_no_output_has_is_named_with_those_that_exist() -> None:
    [remark] = explain_unknown(Columns(answer="output.reply"), _ROWS)
    assert "columns.answer: output.reply is in no output." in remark
    assert "The parts of the output are response, sources and error." in remark


def test_outputs_that_are_texts_have_no_parts() -> None:
    [remark] = explain_unknown(Columns(answer="response"), [_row({"input": "Why?"}, "So.")])
    assert "is in no output. The outputs have no parts." in remark


def test_every_unknown_name_is_reported() -> None:
    columns = Columns(input="a", truth="b", answer="c", context="d", topic="e")
    assert len(explain_unknown(columns, _ROWS)) == 5


def test_a_wide_dataset_is_listed_in_part() -> None:
    wide = {f"column {number}": number for number in range(500)}
    [remark] = explain_unknown(Columns(topic="area"), [_row(wide, "So.")])
    assert "column 19 and 480 more." in remark
    assert "column 20" not in remark


def test_without_rows_nothing_is_unknown() -> None:
    assert explain_unknown(Columns(topic="area"), []) == ()
