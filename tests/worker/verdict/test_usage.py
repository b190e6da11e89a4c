"""Tokens, dollars and seconds of an evaluation, as the trace server adds them up."""

from typing import Any

import numpy as np
import pytest
import wandb
import weave
from weave.trace.weave_client import WeaveClient

from schemas.errors import ConfigurationError
from schemas.gates import Gate
from schemas.thresholds import AtMost
from schemas.usage import ModelUsage
from worker.evaluation import evaluate
from worker.verdict.checks import check_thresholds, metrics
from worker.verdict.evidence import Evaluated
from worker.verdict.prices import Price
from worker.verdict.usage import gateway_metrics, metric_names

_ROWS = [{"question": "x" * length, "answer": "yes"} for length in (3, 5, 8)]
_PROMPT_TOKENS = 16  # one for each x
_PRICES = (2e-6, 1e-5)  # dollars per token, of the prompt and of the answer


@weave.op
async def chat(question: str) -> dict[str, Any]:
    """A chat model's answer, with its usage as OpenAI tells it."""
    return {"content": "yes", "model": "chat model", "usage": _used(len(question), 2)}


@weave.op
async def ask(question: str) -> dict[str, str]:
    answer = await chat(question)
    return {"answer": answer["content"]}


@weave.op
def silent_model(question: str) -> dict[str, str]:
    return {"answer": "yes"}


@weave.op
def correct(answer: str, output: dict[str, str]) -> float:
    return float(output["answer"] == answer)


@weave.op
def judged(output: dict[str, str]) -> dict[str, Any]:
    """A score that another model gives."""
    return {"score": 1.0, "model": "judge", "usage": _used(100, 1)}


@weave.op
def cost(output: dict[str, str]) -> dict[str, float]:
    """A scorer with a name of ours."""
    return {"words": 1.0}


def _used(prompt: int, completion: int) -> dict[str, int]:
    total = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def _evaluate(
    client: WeaveClient, run: wandb.Run, *scorers: Any, model: Any = ask, trials: int = 1
) -> Evaluated:
    dataset = weave.Dataset(name="rows", rows=_ROWS)
    evaluation = weave.Evaluation(dataset=dataset, scorers=list(scorers), trials=trials)
    return evaluate(client, run, evaluation, model, concurrency=4)


def test_usage_is_the_sum_over_the_calls_that_used_it(
    weave_project: WeaveClient, run: wandb.Run
) -> None:
    evaluated = _evaluate(weave_project, run, correct, trials=2)
    trace = weave_project.get_call(evaluated.call).trace_id
    calls = weave_project.get_calls(filter={"trace_ids": [trace]})
    used = [call.output["usage"] for call in calls if call.func_name == "chat" and call.output]
    expected = {name: sum(usage[name] for usage in used) for name in used[0]}
    assert evaluated.summary["usage"] == expected | {"requests": 2 * len(_ROWS)}
    assert expected == _used(2 * _PROMPT_TOKENS, 2 * 2 * len(_ROWS))
    assert run.summary["usage"]["total_tokens"] == expected["total_tokens"]


def test_a_scorers_requests_to_another_model_count_too(
    weave_project: WeaveClient, run: wandb.Run
) -> None:
    measured = metrics(_evaluate(weave_project, run, judged).summary)
    assert measured["usage.requests"] == 2 * len(_ROWS)
    assert measured["usage.prompt_tokens"] == _PROMPT_TOKENS + 100 * len(_ROWS)


def test_a_price_gives_the_cost_of_the_evaluation(
    weave_project: WeaveClient, run: wandb.Run
) -> None:
    weave_project.add_cost("chat model", *_PRICES)
    evaluated = _evaluate(weave_project, run, correct)
    expected = _PROMPT_TOKENS * 2e-6 + 2 * len(_ROWS) * 1e-5
    assert metrics(evaluated.summary)["cost.total"] == pytest.approx(expected)
    assert run.summary["cost"]["total"] == pytest.approx(expected)


def test_costs_of_several_models_are_added(weave_project: WeaveClient, run: wandb.Run) -> None:
    weave_project.add_cost("chat model", *_PRICES)
    weave_project.add_cost("judge", 1e-4, 0)
    evaluated = _evaluate(weave_project, run, judged)
    expected = _PROMPT_TOKENS * 2e-6 + 2 * len(_ROWS) * 1e-5 + 100 * len(_ROWS) * 1e-4
    assert metrics(evaluated.summary)["cost.total"] == pytest.approx(expected)


@pytest.mark.parametrize("judges_price", [None, 0.0], ids=["no price", "a price of 0"])
def test_a_model_without_a_price_leaves_the_cost_unknown(
    weave_project: WeaveClient, run: wandb.Run, gate: Gate, judges_price: float | None
) -> None:
    weave_project.add_cost("chat model", *_PRICES)
    if judges_price is not None:
        weave_project.add_cost("judge", judges_price, judges_price)
    evaluated = _evaluate(weave_project, run, judged)
    cheap = gate.model_copy(update={"thresholds": (AtMost(metric="cost.total", at_most=1),)})
    with pytest.raises(ConfigurationError, match=r"threshold on cost\.total.*usage\.total_tokens"):
        check_thresholds(cheap, evaluated)


def test_a_model_that_reports_no_usage_has_none(weave_project: WeaveClient, run: wandb.Run) -> None:
    evaluated = _evaluate(weave_project, run, correct, model=silent_model)
    assert evaluated.summary.keys() & {"usage", "cost"} == set()


def test_latency_is_taken_from_the_rows(weave_project: WeaveClient, run: wandb.Run) -> None:
    evaluated = _evaluate(weave_project, run, correct)
    rows = weave_project.get_calls(filter={"parent_ids": [evaluated.call]})
    seconds = [call.output["model_latency"] for call in rows if "output" in call.output]
    assert len(seconds) == len(_ROWS)
    assert evaluated.summary["latency"] == pytest.approx(
        {"p50": np.percentile(seconds, 50), "p95": np.percentile(seconds, 95)}
    )
    assert evaluated.summary["model_latency"]["mean"] == pytest.approx(np.mean(seconds))


def test_a_scorer_keeps_its_name(weave_project: WeaveClient, run: wandb.Run) -> None:
    weave_project.add_cost("chat model", *_PRICES)
    evaluated = _evaluate(weave_project, run, cost)
    assert metrics(evaluated.summary)["cost.words.mean"] == 1.0
    assert "cost.total" not in metrics(evaluated.summary)


def test_the_gateway_measures_the_version_and_each_other_model_apart() -> None:
    counts = {"requests": 2, "prompt_tokens": 30, "completion_tokens": 4, "total_tokens": 34}
    used = {
        "a version": ModelUsage(**counts, seconds=(1.0, 3.0)),
        "a judge": ModelUsage(**counts, seconds=(1.0, 3.0)),
    }
    prices = {"a version": Price(1.0, 2.0), "a judge": Price(10.0, 0.0)}
    measured = gateway_metrics(used, version="a version", prices=prices)
    assert measured == {
        "usage": {**counts, "a judge": counts},
        "cost": {"total": 38.0, "a judge": {"total": 300.0}},
        "latency": {"a judge": {"p50": 2.0, "p95": pytest.approx(2.9)}},
    }
    named = set(metric_names(["a judge"])) - {"latency.p50", "latency.p95"}
    assert set(metrics(measured)) == named


def test_the_cost_of_tokens_that_were_not_counted_is_unknown() -> None:
    used = {"a version": ModelUsage(requests=2, uncounted_requests=1, prompt_tokens=30)}
    measured = gateway_metrics(used, version="a version", prices={"a version": Price(1.0, 1.0)})
    assert measured == {"usage": {"requests": 2.0}, "cost": {}, "latency": {}}


def test_a_version_that_was_not_requested_has_no_requests() -> None:
    measured = gateway_metrics({}, version="a version", prices={})
    assert measured["usage"]["requests"] == 0


def test_the_gateways_latencies_do_not_replace_those_of_the_rows() -> None:
    evaluated = Evaluated(
        call="c",
        url="",
        evaluation="",
        dataset="",
        model="",
        of_rows=0,
        rows=(),
        summary={"latency": {"p50": 1.0}, "usage": {"total_tokens": 9}},
    )
    measured: dict[str, dict[str, Any]]
    measured = {"usage": {"requests": 1.0}, "latency": {"a judge": {"p50": 2.0}}}
    summary = evaluated.with_measured(measured).summary
    assert summary["latency"] == {"p50": 1.0, "a judge": {"p50": 2.0}}
    assert summary["usage"] == {"requests": 1.0}
