"""The application retrieves, queries its chat model, and leaves a trace that counts tokens."""

import asyncio
from typing import Any

import pytest
from openai.types.chat import ChatCompletion
from weave.trace.call import Call
from weave.trace.weave_client import WeaveClient

from application.rag import RagModel
from application.rag.serving import ChatEndpoint, serving
from schemas.errors import ConfigurationError

QUESTION = "When did Keeling start to measure?"
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


@pytest.fixture
def trace(
    weave_project: WeaveClient, rag_model: RagModel, endpoint: ChatEndpoint
) -> dict[str, Call]:
    """The calls of one prediction, read back from the server, by the op's name."""
    with serving(rag_model.chat_model.chat_model, endpoint):
        _, call = asyncio.run(RagModel.predict.call(rag_model, QUESTION))
    weave_project.flush()
    calls = weave_project.get_calls(filter={"trace_ids": [call.trace_id]})
    return {call.func_name: call for call in calls}


def predict(model: RagModel) -> dict[str, Any]:
    answer: dict[str, Any] = asyncio.run(model.predict(QUESTION))
    return answer


def test_the_chat_model_receives_the_prompts_and_the_passages(
    rag_model: RagModel, endpoint: Any
) -> None:
    with serving(rag_model.chat_model.chat_model, endpoint):
        output = predict(rag_model)
    assert output["answer"] == "in 1958"
    assert [passage["id"] for passage in output["context"]] == ["keeling", "foote"]
    system, user = endpoint.conversations[0]
    assert system == {"role": "system", "content": 'Answer in few words, as {"this"}.'}
    texts = [passage["text"] for passage in output["context"]]
    assert user["content"] == f"{texts[0]}\n\n{texts[1]}\n\nQuestion: {QUESTION}"


def test_a_chat_model_without_an_endpoint_is_named(rag_model: RagModel) -> None:
    with pytest.raises(ConfigurationError, match=r"Nothing serves .*RAG Chat Models/Finetuned:v1"):
        predict(rag_model)


def test_a_model_is_served_until_the_block_exits(
    rag_model: RagModel, endpoint: ChatEndpoint
) -> None:
    with serving(rag_model.chat_model.chat_model, endpoint):
        predict(rag_model)
    with pytest.raises(ConfigurationError):
        predict(rag_model)


def test_every_step_is_traced(trace: dict[str, Call]) -> None:
    assert trace.keys() == {"RagModel.predict", "RagModel.retrieve", "ChatModel.predict"}
    root = trace["RagModel.predict"]
    assert trace["RagModel.retrieve"].parent_id == root.id
    assert trace["ChatModel.predict"].parent_id == root.id


def test_the_trace_counts_tokens_under_the_versions_name(trace: dict[str, Call]) -> None:
    for op in ("ChatModel.predict", "RagModel.predict"):
        summary = trace[op].summary
        assert summary is not None
        assert summary["usage"] == {"Finetuned:v1": {"requests": 1} | USAGE}


def test_the_trace_keeps_the_passages_themselves(
    trace: dict[str, Call], passages: list[dict[str, str]]
) -> None:
    retrieved = trace["RagModel.retrieve"].output
    assert retrieved is not None
    assert retrieved[0]["text"] == passages[0]["text"]


def test_prepared_passages_change_neither_the_answer_nor_the_trace(
    weave_project: WeaveClient, rag_model: RagModel, endpoint: ChatEndpoint, trace: dict[str, Call]
) -> None:
    with (
        serving(rag_model.chat_model.chat_model, endpoint),
        rag_model.prepared(["another question", QUESTION]),
    ):
        output, call = asyncio.run(RagModel.predict.call(rag_model, QUESTION))
    weave_project.flush()
    calls = weave_project.get_calls(filter={"trace_ids": [call.trace_id]})
    traced = {call.func_name: call.output for call in calls}
    alone = trace["RagModel.predict"].output
    assert alone is not None
    assert traced.keys() == trace.keys()
    assert traced["RagModel.retrieve"] == output["context"]
    assert output["answer"] == alone["answer"]
    for passage, expected in zip(output["context"], alone["context"], strict=True):
        assert passage == {**expected, "score": pytest.approx(expected["score"], abs=1e-5)}


def test_predictions_run_side_by_side(rag_model: RagModel, endpoint: Any) -> None:
    async def both() -> list[dict[str, Any]]:
        meeting = asyncio.Barrier(2)  # passes only when both have arrived
        chat = endpoint.chat

        async def together(*args: Any, **settings: Any) -> ChatCompletion:
            await meeting.wait()
            completion: ChatCompletion = await chat(*args, **settings)
            return completion

        endpoint.chat = together
        async with asyncio.timeout(60):
            return await asyncio.gather(*(rag_model.predict(QUESTION) for _ in range(2)))

    with serving(rag_model.chat_model.chat_model, endpoint):
        assert len(asyncio.run(both())) == 2
