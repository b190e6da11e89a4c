"""Running an evaluation: what it leaves in the run, and how many rows it asks at once."""

import asyncio
import os
import re
from typing import Any

import pytest
import wandb
import weave
from weave.trace.weave_client import WeaveClient

from application.evaluate import questions
from schemas.errors import EvidenceError
from schemas.gates import Gate
from schemas.thresholds import AtLeast
from worker.evaluation import evaluate
from worker.verdict.checks import check_thresholds, decide_outcome, explain_outcome
from worker.verdict.evidence import Evaluated

_ROWS = [{"question": f"question {number}", "answer": "yes"} for number in range(4)]


class Answers(weave.Model):
    """Says yes, but breaks on one question."""

    breaks_on: str = ""

    @weave.op
    async def predict(self, question: str) -> dict[str, str]:
        if question == self.breaks_on:
            raise RuntimeError("the model broke")
        return {"answer": "yes"}


class Crowd:
    """How many are inside at once, now and at most."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def visit(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)  # lets every row that may begin do so
        self.now -= 1


@weave.op
def correct(answer: str, output: dict[str, str]) -> float:
    return float(output["answer"] == answer)


@weave.op
def broken(output: dict[str, str]) -> float:
    raise RuntimeError("the scorer broke")


def _evaluation(*scorers: Any) -> weave.Evaluation:
    return weave.Evaluation(dataset=weave.Dataset(name="rows", rows=_ROWS), scorers=list(scorers))


def _evaluate(
    client: WeaveClient, run: wandb.Run, *scorers: Any, model: Any = None, concurrency: int = 4
) -> Evaluated:
    evaluation = _evaluation(*scorers)
    return evaluate(client, run, evaluation, model or Answers(), concurrency=concurrency)


def test_summary_call_and_page_are_logged_to_the_run(
    weave_project: WeaveClient, run: wandb.Run
) -> None:
    evaluated = _evaluate(weave_project, run, correct)
    assert evaluated.summary["correct"] == {"mean": 1.0}
    assert len(evaluated.rows) == evaluated.of_rows == len(_ROWS)
    assert run.config["weave_eval_call"] == evaluated.call
    assert run.config["weave_eval_url"] == evaluated.url
    assert run.summary["correct"]["mean"] == 1.0


def test_the_calls_carry_the_run(weave_project: WeaveClient, run: wandb.Run) -> None:
    evaluated = _evaluate(weave_project, run, correct)
    root = weave_project.get_call(evaluated.call)
    for call in weave_project.get_calls(filter={"trace_ids": [root.trace_id]}):
        assert call.attributes["wandb-run-id"] == run.id
        assert call.wb_run_id == run.path


@pytest.mark.parametrize(
    ("scorers", "model"),
    [
        ([correct], Answers(breaks_on="question 2")),
        ([correct, broken], Answers()),
        ([], Answers(breaks_on="question 2")),
    ],
    ids=["a row raises", "a scorer raises", "a row raises and nobody scores"],
)
def test_an_evaluation_with_a_row_that_raised_is_no_evidence(
    weave_project: WeaveClient, run: wandb.Run, scorers: list[Any], model: Answers
) -> None:
    """Weave's own summary looks normal in each of these cases."""
    with pytest.raises(
        EvidenceError, match=r"\d of 4 rows have no answer; the first is Weave call"
    ):
        _evaluate(weave_project, run, *scorers, model=model)


@weave.op
def partly(question: str, output: dict[str, str]) -> dict[str, float | None]:
    return {"f1": float("nan") if question == "question 2" else 1.0}


@weave.op
def silent(output: dict[str, str]) -> None:
    return None


@pytest.mark.parametrize(
    ("scorer", "metric", "reason"),
    [
        (partly, "partly.f1.mean", r"1 of 4 rows have no partly\.f1"),
        (silent, "silent.mean", r"silent\.mean is missing"),
    ],
    ids=["a row's score is NaN", "no row has a score"],
)
def test_a_score_that_is_missing_allows_no_promotion(
    weave_project: WeaveClient, run: wandb.Run, gate: Gate, scorer: Any, metric: str, reason: str
) -> None:
    found = _evaluate(weave_project, run, scorer)
    lenient = gate.model_copy(update={"thresholds": (AtLeast(metric=metric, at_least=-1),)})
    try:
        checks = check_thresholds(lenient, found)
    except EvidenceError as error:
        said = str(error)
    else:
        assert decide_outcome(checks) == "failed"
        said = explain_outcome(checks)
    assert re.search(reason, said)


@pytest.mark.parametrize(
    ("operators", "at_once"), [(None, 3), ("2", 2)], ids=["ours", "the operator's"]
)
def test_rows_are_evaluated_concurrently(
    weave_project: WeaveClient,
    run: wandb.Run,
    monkeypatch: pytest.MonkeyPatch,
    operators: str | None,
    at_once: int,
) -> None:
    if operators:
        monkeypatch.setenv("WEAVE_PARALLELISM", operators)
    crowd = Crowd()

    @weave.op
    async def ask(question: str) -> dict[str, str]:
        await crowd.visit()
        return {"answer": "yes"}

    _evaluate(weave_project, run, correct, model=ask, concurrency=3)
    assert crowd.most == at_once
    assert os.environ.get("WEAVE_PARALLELISM") == operators


def test_the_questions_are_those_of_the_rows() -> None:
    assert questions(_evaluation(correct)) == [row["question"] for row in _ROWS]
    other = weave.Evaluation(dataset=weave.Dataset(name="rows", rows=[{"text": "no question"}]))
    assert questions(other) == []
