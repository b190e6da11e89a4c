"""Evaluations and leaderboards, across processes."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import weave
from weave.flow import leaderboard
from weave.trace.weave_client import WeaveClient

from local_wandb import LocalWandb

ROWS = 12


class Upper(weave.Model):
    suffix: str

    @weave.op
    async def predict(self, question: str) -> dict[str, object]:
        usage = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
        return {"answer": question.upper() + self.suffix, "model": "upper", "usage": usage}


@weave.op
def exact_match(expected: str, output: dict[str, str]) -> bool:
    return output["answer"] == expected


@weave.op
def length(output: dict[str, str]) -> int:
    return len(output["answer"])


@pytest.fixture
def evaluation_uri(weave_client: WeaveClient) -> str:
    rows = [{"question": f"q{n}", "expected": f"Q{n}" if n % 2 else "?"} for n in range(ROWS)]
    dataset = weave.Dataset(name="questions", rows=rows)
    evaluation = weave.Evaluation(name="quiz", dataset=dataset, scorers=[exact_match, length])
    ref = weave.publish(evaluation)
    weave_client.flush()
    return str(ref.uri)


def test_another_process_evaluates_by_reference(
    weave_client: WeaveClient, evaluation_uri: str, server: LocalWandb, tmp_path: Path
) -> None:
    model = weave.publish(Upper(suffix=""), name="upper")
    weave_client.flush()
    done = subprocess.run(
        [
            *(sys.executable, str(Path(__file__).with_name("evaluate_by_ref.py"))),
            *(weave_client.project_id, evaluation_uri, model.uri),
        ],
        env=os.environ | server.environment(tmp_path / "second"),
        capture_output=True,
        check=True,
        text=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])

    assert result["summary"]["exact_match"] == {"true_count": 6, "true_fraction": 0.5}
    root = weave_client.get_call(result["call"])
    assert root.ended_at is not None
    assert root.output["exact_match"]["true_count"] == 6
    assert root.summary["usage"]["upper"]["total_tokens"] == 3 * ROWS
    assert root.inputs["model"].ref.uri == model.uri
    names = [call.summary["weave"]["trace_name"] for call in root.children()]
    assert sorted(names) == ["Evaluation.predict_and_score"] * ROWS + ["Evaluation.summarize"]
    in_run = {"$eq": [{"$getField": "attributes.wandb-run-id"}, {"$literal": "run-1"}]}
    everything = weave_client.get_calls(query={"$expr": in_run}, include_feedback=True)
    assert len(everything) == 2 + 4 * ROWS
    predictions = [c for c in everything if c.summary["weave"]["trace_name"] == "Upper.predict"]
    assert [len(c.summary["weave"]["feedback"]) for c in predictions] == [2] * ROWS


def test_a_leaderboard_lists_every_model(weave_client: WeaveClient, evaluation_uri: str) -> None:
    evaluation = weave.ref(evaluation_uri).get()
    for suffix in ("", "!"):
        asyncio.run(evaluation.evaluate(Upper(suffix=suffix)))
    column = leaderboard.LeaderboardColumn(
        evaluation_object_ref=evaluation_uri,
        scorer_name="exact_match",
        summary_metric_path="true_fraction",
    )
    ref = weave.publish(leaderboard.Leaderboard(name="quiz board", columns=[column]))
    weave_client.flush()

    results = leaderboard.get_leaderboard_results(weave.ref(ref.uri).get(), weave_client)
    values = [result.column_scores[0].scores[0].value for result in results]
    assert values == [0.5, 0.0]
    assert len({result.model_ref for result in results}) == 2


def test_an_evaluation_can_be_logged_piece_by_piece(weave_client: WeaveClient) -> None:
    logger = weave.EvaluationLogger(name="by-hand", model={"name": "m"}, dataset=[{"q": "a"}])
    prediction = logger.log_prediction(inputs={"q": "a"}, output="A")
    prediction.log_score("correct", score=True)
    prediction.finish()
    logger.log_summary({"notes": 1})
    weave_client.flush()

    [root] = weave_client.get_calls(filter={"trace_roots_only": True})
    assert (root.display_name, root.output["output"]["notes"]) == ("by-hand", 1)
    [scored] = weave_client.get_calls(scored_by="correct")
    assert scored.output == "A"
