"""A judge that queries a model behind a real HTTP server with scripted replies."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import wandb
import weave
from pydantic import ValidationError
from weave.integrations.openai.openai_sdk import get_openai_patcher
from weave.trace.weave_client import WeaveClient

from application.judge_failures import fail_on_judge_errors
from application.rag import LLMJudge
from application.rag.judge import _endpoint
from application.rebuild import load_evaluation
from schemas.errors import ConfigurationError, EvidenceError, PlatformError, WeighbridgeError
from schemas.gates import Gate
from schemas.thresholds import AtLeast
from tests.engine.scripted_engine import (
    BROKEN,
    Answer,
    ScriptedEngine,
    completion,
    error,
    ok,
    scripted_engine,
    soon,
)
from worker.evaluation import evaluate
from worker.verdict.checks import check_thresholds
from worker.verdict.evidence import Evaluated

KEY, VARIABLE = "sk-the-secret-key", "WEIGHBRIDGE_JUDGE_KEY"
ROWS = [{"question": f"question {number}", "answer": "1856"} for number in range(3)]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEngine]:
    # Endpoints are cached by their URL, and an earlier test may have used the same port.
    _endpoint.cache_clear()
    with scripted_engine() as running:
        yield running


@pytest.fixture
def openai_is_traced() -> Iterator[None]:
    """Trace the openai client, as a plain ``weave.init`` does and a worker does not."""
    patcher = get_openai_patcher()
    patcher.attempt_patch()
    yield
    patcher.undo_patch()


def judge(endpoint: ScriptedEngine, **fields: Any) -> LLMJudge:
    given = {
        "name": "judge",
        "base_url": endpoint.url,
        "model": "a-judge",
        "instructions": "Is {output.answer} right for {question}?",
    }
    return LLMJudge(**(given | fields))


def scored(score: object, **more: object) -> Answer:
    return completion(json.dumps({"reason": "As I say.", "score": score} | more))


def silence(**message: object) -> Answer:
    said = {"role": "assistant", "content": None} | message
    choice = {"index": 0, "finish_reason": "stop", "message": said}
    return ok({"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
              | {"choices": [choice]})  # fmt: skip


def judged(judge: LLMJudge, question: str = "When?", output: Any = None) -> dict[str, Any]:
    output = {"answer": "1856"} if output is None else output
    judgement: dict[str, Any] = asyncio.run(judge.score(output=output, question=question))
    return judgement


def failure(judge: LLMJudge) -> WeighbridgeError:
    with pytest.raises(WeighbridgeError) as caught:
        judged(judge)
    assert KEY not in str(caught.value)
    return caught.value


class Says1856(weave.Model):
    """Always gives the same answer."""

    @weave.op
    def predict(self, question: str) -> dict[str, str]:
        return {"answer": "1856"}


def published(client: WeaveClient, *judges: LLMJudge) -> weave.Evaluation:
    """Publish an evaluation, and load it as a worker does."""
    evaluation = weave.Evaluation(
        dataset=weave.Dataset(name="rows", rows=ROWS), scorers=list(judges)
    )
    uri = weave.publish(evaluation, "evaluation").uri()
    client.flush()
    return load_evaluation(uri)


def evaluated(client: WeaveClient, run: wandb.Run, evaluation: weave.Evaluation) -> Evaluated:
    return evaluate(client, run, evaluation, Says1856(), concurrency=1)


@pytest.mark.parametrize(
    ("scale", "score"), [("yes/no", True), ("yes/no", False), ("0..1", 0.25), ("0..1", 1)]
)
def test_a_judgement_is_a_score_and_its_reason(
    scale: str, score: object, endpoint: ScriptedEngine
) -> None:
    endpoint.will_answer(scored(score))
    assert judged(judge(endpoint, scale=scale)) == {"reason": "As I say.", "score": score}


def test_the_reply_format_is_requested_as_a_strict_schema(endpoint: ScriptedEngine) -> None:
    endpoint.will_answer(scored(True))
    judged(judge(endpoint, max_tokens=99, parameters={"seed": 7}))
    body = endpoint.requests[0].body
    form = body["response_format"]["json_schema"]
    assert form["strict"]
    assert not form["schema"]["additionalProperties"]
    assert list(form["schema"]["properties"]) == form["schema"]["required"] == ["reason", "score"]
    assert (body["model"], body["max_tokens"], body["seed"]) == ("a-judge", 99, 7)


def test_a_parameter_can_replace_max_tokens(endpoint: ScriptedEngine) -> None:
    endpoint.will_answer(scored(True))
    judged(judge(endpoint, max_tokens=None, parameters={"max_completion_tokens": 99}))
    assert "max_tokens" not in endpoint.requests[0].body
    assert endpoint.requests[0].body["max_completion_tokens"] == 99


def test_columns_and_output_fill_the_instructions(endpoint: ScriptedEngine) -> None:
    endpoint.will_answer(scored(True))
    instructions = 'As {"score": 1}: {question} {output.answer} {output.context} {output}'
    output = {"answer": "{question}", "context": [{"text": "Im März"}]}
    judged(judge(endpoint, instructions=instructions), "When?", output)
    context = '[{"text": "Im März"}]'
    assert endpoint.requests[0].body["messages"][1]["content"] == (
        f'As {{"score": 1}}: When? {{question}} {context} '
        f'{{"answer": "{{question}}", "context": {context}}}'
    )


def test_an_output_that_is_text_is_inserted_as_it_is(endpoint: ScriptedEngine) -> None:
    endpoint.will_answer(scored(True))
    judged(judge(endpoint, instructions="Is {output} right?"), output="1856")
    assert endpoint.requests[0].body["messages"][1]["content"] == "Is 1856 right?"


def test_a_field_that_no_row_has_is_named_before_any_request(
    endpoint: ScriptedEngine,
) -> None:
    refusal = failure(judge(endpoint, instructions="Is {output.anwser} right?"))
    assert isinstance(refusal, ConfigurationError)
    assert "{output.anwser}" in refusal.message
    assert "output.answer" in refusal.fix
    assert endpoint.requests == []


@pytest.mark.parametrize(
    ("scale", "malformed"),
    [
        ("yes/no", completion("Yes, it is.")),
        ("yes/no", completion('{"reason": "It is.", "sco')),
        ("yes/no", completion('{"score": true}')),
        ("yes/no", scored(1)),
        ("yes/no", scored(True, confidence=1)),
        ("0..1", scored(1.5)),
        ("0..1", scored("0.5")),
        ("0..1", scored(True)),
        ("0..1", completion('{"reason": "Well.", "score": NaN}')),
    ],
)
def test_a_malformed_reply_is_requested_again(
    scale: str, malformed: Answer, endpoint: ScriptedEngine
) -> None:
    good = True if scale == "yes/no" else 0.5
    endpoint.will_answer(malformed, scored(good))
    assert judged(judge(endpoint, scale=scale))["score"] == good
    first, second = (request.body["messages"] for request in endpoint.requests)
    assert second[: len(first)] == first
    assert [message["role"] for message in second[len(first) :]] == ["assistant", "user"]


def test_a_judge_whose_replies_stay_malformed_gives_no_score(endpoint: ScriptedEngine) -> None:
    endpoint.will_answer(completion("Yes!"))
    judgement = judged(judge(endpoint, retries=3))
    assert judgement["score"] is None
    assert "in the requested format" in judgement["reason"]
    assert len(endpoint.requests) == 1 + 3


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (silence(refusal="I cannot help with that."), "I cannot help with that."),
        (silence(), "an empty answer (finish_reason: stop)"),
        (silence(content=" \n"), "an empty answer (finish_reason: stop)"),
        (scored(None), "As I say."),
    ],
    ids=["refusal", "no answer", "empty answer", "declined"],
)
def test_a_refusal_gives_no_score_and_is_not_retried(
    refusal: Answer, reason: str, endpoint: ScriptedEngine
) -> None:
    endpoint.will_answer(refusal)
    judgement = judged(judge(endpoint))
    assert judgement["score"] is None
    assert reason in judgement["reason"]
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("failed", [soon(429), soon(503), BROKEN], ids=["429", "503", "broken"])
def test_a_transient_failure_is_retried(failed: Answer, endpoint: ScriptedEngine) -> None:
    endpoint.will_answer(failed, scored(True))
    assert judged(judge(endpoint))["score"] is True


def test_an_endpoint_that_stays_overloaded_is_a_platform_error(
    endpoint: ScriptedEngine,
) -> None:
    endpoint.will_answer(soon(429))
    refusal = failure(judge(endpoint, retries=2))
    assert isinstance(refusal, PlatformError)
    assert endpoint.url in refusal.message
    assert len(endpoint.requests) == 1 + 2


def test_the_key_comes_from_the_environment(
    endpoint: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.will_answer(scored(True))
    for key in (KEY, "another"):
        monkeypatch.setenv(VARIABLE, key)
        judged(judge(endpoint, api_key_variable=VARIABLE))
        assert endpoint.requests[-1].headers["authorization"] == f"Bearer {key}"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_a_configuration_error_that_does_not_show_the_key(
    status: int, endpoint: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    endpoint.will_answer(error(status, f"Incorrect API key: {KEY}."))
    refusal = failure(judge(endpoint, api_key_variable=VARIABLE))
    assert isinstance(refusal, ConfigurationError)
    assert endpoint.url in refusal.message
    assert refusal.fix == f"Check {VARIABLE}."
    assert len(endpoint.requests) == 1


def test_a_missing_key_variable_is_named_when_the_endpoint_needs_a_key(
    endpoint: ScriptedEngine,
) -> None:
    endpoint.will_answer(error(401))
    assert "api_key_variable" in failure(judge(endpoint)).fix


def test_an_unset_key_variable_is_named_before_any_request(endpoint: ScriptedEngine) -> None:
    refusal = failure(judge(endpoint, api_key_variable="WEIGHBRIDGE_JUDGE_NOBODY"))
    assert isinstance(refusal, ConfigurationError)
    assert "WEIGHBRIDGE_JUDGE_NOBODY is not set" in refusal.message
    assert endpoint.requests == []


@pytest.mark.parametrize("other", ["WANDB_API_KEY", "WEIGHBRIDGE_WEBHOOK_SECRET"])
def test_a_judge_cannot_use_other_secrets_of_the_worker(
    other: str, endpoint: ScriptedEngine
) -> None:
    with pytest.raises(ValidationError, match="WEIGHBRIDGE_JUDGE_"):
        judge(endpoint, api_key_variable=other)


def test_a_column_map_is_refused(endpoint: ScriptedEngine) -> None:
    with pytest.raises(ValidationError, match="column_map"):
        judge(endpoint, column_map={"question": "input"})


def test_an_unknown_model_is_a_configuration_error(endpoint: ScriptedEngine) -> None:
    endpoint.will_answer(error(404, "The model does not exist."))
    refusal = failure(judge(endpoint))
    assert isinstance(refusal, ConfigurationError)
    assert endpoint.url in refusal.message
    assert "a-judge" in refusal.message
    assert "The model does not exist." in refusal.message
    assert "base_url" in refusal.fix


def test_an_endpoint_with_another_protocol_is_a_configuration_error(
    endpoint: ScriptedEngine,
) -> None:
    endpoint.will_answer(ok({"welcome": "here"}))
    refusal = failure(judge(endpoint))
    assert isinstance(refusal, ConfigurationError)
    assert "does not answer in the OpenAI protocol" in refusal.message


@pytest.mark.parametrize("status", [400, 422])
def test_an_endpoint_that_refuses_the_schema_gets_no_schema_from_then_on(
    status: int, endpoint: ScriptedEngine
) -> None:
    endpoint.will_answer(error(status, "response_format is not supported"), scored(True))
    assert [judged(judge(endpoint))["score"] for _ in range(2)] == [True, True]
    with_schema = ["response_format" in request.body for request in endpoint.requests]
    assert with_schema == [True, False, False]
    assert '"additionalProperties": false' in endpoint.requests[1].body["messages"][0]["content"]


def test_a_request_that_is_refused_without_the_schema_too_is_an_error(
    endpoint: ScriptedEngine,
) -> None:
    endpoint.will_answer(error(400, "bad"), error(400, "too long"), scored(True))
    refusal = failure(judge(endpoint))
    assert isinstance(refusal, ConfigurationError)
    assert "too long" in refusal.message
    judged(judge(endpoint))
    assert "response_format" in endpoint.requests[-1].body


@pytest.mark.parametrize(
    ("scale", "score", "metric"),
    [("0..1", 0.25, {"mean": 0.25}), ("yes/no", True, {"true_count": 3, "true_fraction": 1.0})],
)
def test_a_published_judge_gives_a_metric(
    scale: str,
    score: object,
    metric: dict[str, float],
    weave_project: WeaveClient,
    run: wandb.Run,
    endpoint: ScriptedEngine,
) -> None:
    endpoint.will_answer(scored(score))
    evaluation = published(weave_project, judge(endpoint, scale=scale))
    assert evaluated(weave_project, run, evaluation).summary["judge"] == {"score": metric}


@pytest.mark.usefixtures("openai_is_traced")
def test_a_judges_tokens_are_counted_once_under_its_model(
    weave_project: WeaveClient, run: wandb.Run, endpoint: ScriptedEngine
) -> None:
    weave_project.add_cost("a-judge", 2.0, 1.0)
    endpoint.will_answer(completion("Yes!"), scored(True))
    found = evaluated(weave_project, run, published(weave_project, judge(endpoint)))
    requests = len(ROWS) + 1  # the first reply is malformed
    assert len(endpoint.requests) == requests
    assert found.summary["usage"] == {
        "requests": requests,
        "prompt_tokens": 3 * requests,
        "completion_tokens": 2 * requests,
        "total_tokens": 5 * requests,
    }
    assert found.summary["cost"]["total"] == pytest.approx((2.0 * 3 + 1.0 * 2) * requests)
    root = weave_project.get_call(found.call)
    assert root.summary is not None
    assert list(root.summary["usage"]) == ["a-judge"]


@pytest.mark.usefixtures("openai_is_traced")
def test_the_key_is_nowhere_in_the_trace(
    weave_project: WeaveClient,
    run: wandb.Run,
    endpoint: ScriptedEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    endpoint.will_answer(scored(True), error(401, f"Incorrect API key: {KEY}."))
    evaluation = published(weave_project, judge(endpoint, api_key_variable=VARIABLE))
    with pytest.raises(ConfigurationError):
        evaluated(weave_project, run, evaluation)
    project = weave_project.project_id
    calls = [str(call) for call in weave_project.server.calls_query_stream({"project_id": project})]
    objects = [
        str(stored) for stored in weave_project.server.objs_query({"project_id": project}).objs
    ]
    assert any("Check WEIGHBRIDGE_JUDGE_KEY" in call for call in calls)
    assert any("LLMJudge" in stored for stored in objects)
    assert KEY not in "".join(calls + objects)


def test_a_refusal_leaves_a_gate_without_a_verdict(
    weave_project: WeaveClient, run: wandb.Run, gate: Gate, endpoint: ScriptedEngine
) -> None:
    endpoint.will_answer(scored(True), silence(refusal="No."), scored(True))
    found = evaluated(weave_project, run, published(weave_project, judge(endpoint)))
    assert sorted("judge.score" in row.scores for row in found.rows) == [False, True, True]
    lenient = AtLeast(metric="judge.score.true_fraction", at_least=0.0)
    with pytest.raises(EvidenceError):
        check_thresholds(gate.model_copy(update={"thresholds": (lenient,)}), found)


def test_a_failed_judge_fails_the_evaluation_and_is_not_queried_again(
    weave_project: WeaveClient, run: wandb.Run, endpoint: ScriptedEngine
) -> None:
    endpoint.will_answer(scored(True), error(404, "The model does not exist."))
    evaluation = published(weave_project, judge(endpoint))
    with pytest.raises(ConfigurationError) as caught:
        evaluated(weave_project, run, evaluation)
    assert str(caught.value).startswith(f"The judge at {endpoint.url} refused a request")
    assert len(endpoint.requests) == 2


def test_a_judges_failure_is_raised_even_if_the_block_succeeded(endpoint: ScriptedEngine) -> None:
    endpoint.will_answer(error(404))
    with pytest.raises(ConfigurationError, match="a-judge"), fail_on_judge_errors():
        failure(judge(endpoint))


def test_other_errors_pass_when_no_judge_failed(endpoint: ScriptedEngine) -> None:
    endpoint.will_answer(scored(True))
    with pytest.raises(KeyError, match="no such part"), fail_on_judge_errors():
        judged(judge(endpoint))["no such part"]
