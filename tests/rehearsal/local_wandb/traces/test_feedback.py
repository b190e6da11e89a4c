"""Feedback, with the real client."""

import asyncio
from typing import Any

import weave
from weave.trace.weave_client import WeaveClient


def test_feedback_on_a_call_is_found_and_removed(weave_client: WeaveClient) -> None:
    @weave.op
    def answer() -> str:
        return "42"

    _, call = answer.call()
    weave_client.flush()
    note = call.feedback.add_note("right")
    call.feedback.add_reaction("👍")
    call.feedback.add("correctness", {"value": 0.5})
    weave_client.flush()

    assert len(call.feedback.refresh()) == 3
    [found] = weave_client.get_feedback(reaction="👍")
    assert (found.weave_ref, found.feedback_type) == (call.ref.uri, "wandb.reaction.1")
    query = {"$expr": {"$gt": [{"$getField": "payload.value"}, {"$literal": 0.4}]}}
    assert [f.feedback_type for f in weave_client.get_feedback(query)] == ["correctness"]
    [read] = weave_client.get_calls(include_feedback=True)
    given = read.summary["weave"]["feedback"]
    assert [f["feedback_type"] for f in given] == [
        "wandb.note.1",
        "wandb.reaction.1",
        "correctness",
    ]

    call.feedback.purge(note)
    assert len(call.feedback.refresh()) == 2


class Loud(weave.Scorer):
    @weave.op
    def score(self, *, output: Any, **kwargs: Any) -> dict[str, bool]:
        return {"loud": output.isupper()}


def test_calls_are_found_by_their_scorer(weave_client: WeaveClient) -> None:
    @weave.op
    def answer(question: str) -> str:
        return question.upper()

    _, call = answer.call("why?")
    answer("unscored")
    asyncio.run(call.apply_scorer(Loud()))
    weave_client.flush()

    [found] = weave_client.get_calls(scored_by="Loud")
    assert found.id == call.id
    loud = {"$getField": "feedback.[wandb.runnable.Loud].payload.output.loud"}
    [same] = weave_client.get_calls(query={"$expr": {"$eq": [loud, {"$literal": True}]}})
    assert same.id == call.id
