"""The evaluation fails closed: Weave's own summary looks normal in every one of these cases."""

from typing import Any

import pytest
import wandb
import weave
from weave.trace.weave_client import WeaveClient

from schemas.errors import ArtifactError
from worker.evaluate import evaluate

_ROWS = [{"question": f"question {number}", "answer": "yes"} for number in range(4)]


class Answers(weave.Model):
    """Says yes, but breaks on one question."""

    breaks_on: str = ""

    @weave.op
    async def predict(self, question: str) -> dict[str, str]:
        if question == self.breaks_on:
            raise RuntimeError("the model broke")
        return {"answer": "yes"}


@weave.op
def correct(answer: str, output: dict[str, str]) -> float:
    return float(output["answer"] == answer)


@weave.op
def broken(output: dict[str, str]) -> float:
    raise RuntimeError("the scorer broke")


@weave.op
def silent(output: dict[str, str]) -> None:
    return None


@weave.op
def partial(question: str, output: dict[str, str]) -> dict[str, float | None]:
    return {"f1": None if question == "question 2" else 1.0}


def _evaluation(*scorers: Any) -> weave.Evaluation:
    return weave.Evaluation(dataset=weave.Dataset(name="rows", rows=_ROWS), scorers=list(scorers))


def test_summary_call_and_page_are_logged_to_the_run(
    weave_project: WeaveClient, run: wandb.Run
) -> None:
    evaluated = evaluate(weave_project, run, _evaluation(correct), Answers())
    assert evaluated.summary["correct"] == {"mean": 1.0}
    assert evaluated.rows == len(_ROWS)
    assert run.config["weave_eval_call"] == evaluated.call
    assert run.config["weave_eval_url"] == evaluated.url
    assert run.summary["correct"]["mean"] == 1.0


def test_the_calls_carry_the_run(weave_project: WeaveClient, run: wandb.Run) -> None:
    evaluated = evaluate(weave_project, run, _evaluation(correct), Answers())
    root = weave_project.get_call(evaluated.call)
    assert root.attributes["wandb-run-id"] == run.id


@pytest.mark.parametrize(
    ("scorers", "model"),
    [
        ([correct], Answers(breaks_on="question 2")),
        ([correct, broken], Answers()),
        ([correct, silent], Answers()),
        ([correct, partial], Answers()),
        ([], Answers(breaks_on="question 2")),
    ],
    ids=[
        "a row raises",
        "a scorer raises",
        "a score is missing",
        "a part of a score is missing",
        "a row raises and nobody scores",
    ],
)
def test_an_incomplete_evaluation_is_no_evidence(
    weave_project: WeaveClient, run: wandb.Run, scorers: list[Any], model: Answers
) -> None:
    with pytest.raises(ArtifactError, match="have no answer or no score"):
        evaluate(weave_project, run, _evaluation(*scorers), model)
