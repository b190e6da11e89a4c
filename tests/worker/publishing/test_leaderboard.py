"""The leaderboard shows Weave's metrics, also to a client that did not publish it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import weave
from weave.flow.leaderboard import Leaderboard, get_leaderboard_results
from weave.trace.ref_util import get_ref
from weave.trace.weave_client import WeaveClient

from schemas.errors import WeighbridgeError
from schemas.gates import Gate
from schemas.refs import WeaveRef
from worker.publishing import publish_leaderboard

_ROWS = [{"question": f"question {number}", "answer": "yes"} for number in range(3)]
_BESIDE = {"no_worse_than": "champion", "margin": 0.02}
_THRESHOLDS: list[dict[str, Any]] = [
    {"metric": "correct.mean", "at_least": 0.5},
    {"metric": "model_latency.mean", "at_most": 2},
    {"metric": "wrong.true_fraction", **_BESIDE, "lower_is_better": True},
    {"metric": "graded.part.mean", **_BESIDE},
    {"metric": "correct.mean", **_BESIDE},
    {"metric": "graded.other.mean", "at_least": 0, "slice": {"topic": "ice"}},
    {"metric": "usage.total_tokens", "at_most": 9},
    {"metric": "cost.total", "at_most": 1},
    {"metric": "latency.p95", "at_most": 3},
]
_SHOWN = [
    ("correct", "mean", False),
    ("model_latency", "mean", True),
    ("wrong", "true_fraction", True),
    ("graded", "part.mean", False),
]


class Says(weave.Model):
    """Gives the same answer to every question."""

    word: str

    @weave.op
    def predict(self, question: str) -> str:
        return self.word


@weave.op
def correct(answer: str, output: str) -> float:
    return float(output == answer)


@weave.op
def wrong(answer: str, output: str) -> bool:
    return output != answer


@weave.op
def graded(output: str) -> dict[str, float]:
    return {"part": len(output) / 4, "other": 1.0}


@pytest.fixture
def evaluation(weave_project: WeaveClient) -> weave.Evaluation:
    dataset = weave.Dataset(name="rows", rows=_ROWS)
    evaluation = weave.Evaluation(
        name="questions", dataset=dataset, scorers=[correct, wrong, graded]
    )
    weave.publish(evaluation)
    return evaluation


@pytest.fixture
def strict(gate: Gate) -> Gate:
    """A gate with thresholds of every kind."""
    promote = {"to": gate.promote.to, "aliases": ["production"]}
    changes = {"thresholds": _THRESHOLDS, "promote": promote}
    return Gate.model_validate(gate.model_dump() | changes)


def _ref(evaluation: weave.Evaluation) -> WeaveRef:
    ref = get_ref(evaluation)
    assert ref is not None
    return WeaveRef.parse(str(ref.uri))


def _board(ref: WeaveRef) -> Leaderboard:
    board = weave.ref(ref.uri).get()
    assert isinstance(board, Leaderboard)
    return board


def _columns(board: Leaderboard) -> list[tuple[str, str, bool | None]]:
    return [(c.scorer_name, c.summary_metric_path, c.should_minimize) for c in board.columns]


def _figure(summary: dict[str, Any], scorer: str, path: str) -> Any:
    value = summary[scorer]
    for part in path.split("."):
        value = value[part]
    return value


def test_there_is_a_column_for_each_metric_in_weaves_summary(
    weave_project: WeaveClient, strict: Gate, evaluation: weave.Evaluation
) -> None:
    ref = publish_leaderboard(weave_project, strict, _ref(evaluation))
    assert ref.name == strict.name
    board = _board(ref)
    assert board.name == strict.name
    assert _columns(board) == _SHOWN
    assert {column.evaluation_object_ref for column in board.columns} == {_ref(evaluation).uri}


def test_another_client_sees_the_numbers_of_the_summaries(
    weave_project: WeaveClient,
    strict: Gate,
    evaluation: weave.Evaluation,
    reader: Callable[[], WeaveClient],
) -> None:
    summaries = [asyncio.run(evaluation.evaluate(Says(word=word))) for word in ("yes", "no")]
    ref = publish_leaderboard(weave_project, strict, _ref(evaluation))
    client = reader()
    shown = [
        [cell.value for column in row.column_scores for cell in column.scores]
        for row in get_leaderboard_results(_board(ref), client)
    ]
    expected = [
        [_figure(summary, scorer, path) for scorer, path, _ in _SHOWN] for summary in summaries
    ]
    assert sorted(shown) == sorted(expected)


def test_publishing_again_creates_no_new_version(
    weave_project: WeaveClient,
    strict: Gate,
    evaluation: weave.Evaluation,
    reader: Callable[[], WeaveClient],
) -> None:
    first = publish_leaderboard(weave_project, strict, _ref(evaluation))
    second = publish_leaderboard(reader(), strict, _ref(evaluation))
    assert first == second


def test_a_changed_gate_gives_a_new_version_under_the_same_name(
    weave_project: WeaveClient, strict: Gate, evaluation: weave.Evaluation
) -> None:
    first = publish_leaderboard(weave_project, strict, _ref(evaluation))
    changed = strict.model_copy(update={"thresholds": strict.thresholds[:1]})
    second = publish_leaderboard(weave_project, changed, _ref(evaluation))
    assert first.name == second.name
    assert first.digest != second.digest
    assert _columns(_board(second.model_copy(update={"digest": "latest"}))) == _SHOWN[:1]


def test_a_gate_that_is_changed_back_makes_the_first_version_the_latest(
    weave_project: WeaveClient, strict: Gate, evaluation: weave.Evaluation
) -> None:
    changed = strict.model_copy(update={"thresholds": strict.thresholds[:1]})
    first, _, again = (
        publish_leaderboard(weave_project, gate, _ref(evaluation))
        for gate in (strict, changed, strict)
    )
    assert first == again
    assert _columns(_board(first.model_copy(update={"digest": "latest"}))) == _SHOWN


def test_a_name_that_another_kind_of_object_has_is_refused(
    weave_project: WeaveClient, strict: Gate, evaluation: weave.Evaluation
) -> None:
    weave.publish(weave.Dataset(name=strict.name, rows=_ROWS))
    weave_project.flush()
    with pytest.raises(WeighbridgeError, match="publish the leaderboard of gate climate-rag"):
        publish_leaderboard(weave_project, strict, _ref(evaluation))
