"""The rehearsal's numbers are the same everywhere: table, leaderboard, predictions, report."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from application.rag.scorers import token_f1
from rehearsal import climate
from tests.e2e.rehearsed import Program, Rehearsed

_METRIC = "answer_correctness.mean"
_COLUMNS = [
    *("id", "input", "ground_truth", "prediction"),
    *("correct", "confidence", "error_type", "topic"),
]


@pytest.fixture(scope="module")
def numbers(rehearsed: Rehearsed, program: Program) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program("find_numbers.py", json.dumps(rehearsed.verdicts))
    return found


class _Data(HTMLParser):
    """The values of a page's ``<data>`` elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: list[float] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "data":
            self.values.append(float(dict(attrs)["value"] or "nan"))


def _value(verdict: dict[str, Any]) -> float:
    return float(next(one["value"] for one in verdict["checks"] if one["metric"] == _METRIC))


def _relative(verdict: dict[str, Any]) -> dict[str, Any]:
    [check] = [one for one in verdict["checks"] if "no_worse_than" in one["threshold"]]
    found: dict[str, Any] = check
    return found


def test_the_reason_of_the_first_version_names_the_missing_champion(rehearsed: Rehearsed) -> None:
    first = rehearsed.verdicts[0]
    assert "There is no champion yet" in first["reason"]
    assert "interval" not in _relative(first)


def test_the_others_are_compared_with_the_champion_row_by_row(rehearsed: Rehearsed) -> None:
    for verdict, passed in zip(rehearsed.verdicts[1:], (False, True), strict=True):
        check = _relative(verdict)
        low, high = check["interval"]
        assert low < check["difference"] < high
        assert check["value"] - check["champion"] == pytest.approx(check["difference"])
        assert (low >= -0.02) == passed == check["passed"]
        assert verdict["champion"].startswith("wandb32/wandb-registry-RAG Models/RAG Model:v")


def test_the_table_shows_difference_and_interval(rehearsed: Rehearsed) -> None:
    for verdict in rehearsed.verdicts[1:]:
        check = _relative(verdict)
        low, high = check["interval"]
        assert f"{check['difference']:+.3f}" in rehearsed.output
        assert f"[{low:+.3f}, {high:+.3f}]" in rehearsed.output


def test_the_leaderboard_shows_the_same_values(
    rehearsed: Rehearsed, numbers: list[dict[str, Any]]
) -> None:
    for verdict, found in zip(rehearsed.verdicts, numbers, strict=True):
        for check in verdict["checks"]:
            assert found["leaderboard"][check["metric"]] == pytest.approx(check["value"])


def test_the_predictions_give_the_same_value(
    rehearsed: Rehearsed, numbers: list[dict[str, Any]]
) -> None:
    questions = {one.id: one for one in climate.questions()}
    for verdict, found in zip(rehearsed.verdicts, numbers, strict=True):
        rows = found["predictions"]
        assert [*rows[0]] == _COLUMNS
        scores = [
            max(
                token_f1(expected, row["prediction"])
                for expected in (row["ground_truth"], *questions[row["id"]].accepted)
            )
            for row in rows
        ]
        assert sum(scores) / len(questions) == pytest.approx(_value(verdict))
        assert all(0 < row["confidence"] <= 1 for row in rows)
        assert [row["correct"] for row in rows] == [score >= 0.5 for score in scores]


def test_the_changed_rows_are_those_that_only_one_version_answered_correctly(
    rehearsed: Rehearsed, numbers: list[dict[str, Any]]
) -> None:
    assert numbers[0]["changed"] is None
    right = [{row["id"] for row in found["predictions"] if row["correct"]} for found in numbers]
    champions = {
        verdict["promoted_ref"]: ids for verdict, ids in zip(rehearsed.verdicts, right, strict=True)
    }
    for verdict, mine, found in zip(rehearsed.verdicts[1:], right[1:], numbers[1:], strict=True):
        changed = {row["id"] for row in found["changed"]}
        assert changed == mine ^ champions[verdict["champion"]]


def test_the_report_shows_the_same_numbers(rehearsed: Rehearsed) -> None:
    for verdict in rehearsed.verdicts:
        report = Path(verdict["report"])
        assert report.parent == rehearsed.folder / "reports"
        assert str(report) in rehearsed.output
        shown = _Data(report.read_text()).values
        for check in verdict["checks"]:
            assert check["value"] in shown
            assert set(check.get("interval", [])) <= set(shown)


def test_run_and_version_are_tagged_and_the_call_has_the_verdict(
    rehearsed: Rehearsed, numbers: list[dict[str, Any]]
) -> None:
    for verdict, found in zip(rehearsed.verdicts, numbers, strict=True):
        assert found["run_tags"] == [f"weighbridge-{verdict['verdict']}"]
        assert found["version_tags"] == [f"weighbridge-climate-rag-{verdict['verdict']}"]
        [recorded] = found["feedback"]
        assert (recorded["outcome"], recorded["reason"]) == (verdict["verdict"], verdict["reason"])
        assert any(name.startswith("media/html/report") for name in found["run_files"])


def test_the_promoted_artifact_has_the_reason(
    rehearsed: Rehearsed, numbers: list[dict[str, Any]]
) -> None:
    first, _, last = (found.get("metadata") for found in numbers)
    assert first is not None
    assert last is not None
    assert first["champion"] is None
    assert (
        last["champion"]
        == rehearsed.verdicts[2]["champion"]
        == rehearsed.verdicts[0]["promoted_ref"]
    )
    assert last["chat_model"] == f"wandb-artifact:///{rehearsed.verdicts[2]['version']}"
    assert last["weave_call"] == rehearsed.verdicts[2]["weave_call"]
    assert last["versions"].keys() >= {"wandb", "weave"}
    [interval] = [
        check["comparison"]["interval"] for check in last["checks"] if check["comparison"]
    ]
    assert interval == _relative(rehearsed.verdicts[2])["interval"]
