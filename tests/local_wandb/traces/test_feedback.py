"""Feedback, with the real client."""

import asyncio
from typing import Any

import httpx
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


def test_a_batch_is_stored_as_a_whole_or_not_at_all(http: httpx.Client, project_id: str) -> None:
    fine = {"project_id": project_id, "weave_ref": "x", "feedback_type": "y", "payload": {}}
    note = {**fine, "feedback_type": "wandb.note.1", "payload": {"note": ""}}
    assert http.post("/feedback/batch/create", json={"batch": [fine, note]}).status_code == 400
    assert _ids(http, project_id) == []


def test_feedback_is_deleted_by_several_ids_at_once(http: httpx.Client, project_id: str) -> None:
    fine = {"project_id": project_id, "weave_ref": "x", "feedback_type": "y", "payload": {}}
    batch = [{**fine, "id": name} for name in ("a", "b", "c")]
    http.post("/feedback/batch/create", json={"batch": batch})
    ids = [{"$eq": [{"$getField": "id"}, {"$literal": name}]} for name in ("a", "c")]
    doomed = {"project_id": project_id, "query": {"$expr": {"$or": ids}}}
    assert http.post("/feedback/purge", json=doomed).status_code == 200
    assert _ids(http, project_id) == ["b"]


def _ids(http: httpx.Client, project_id: str) -> list[str]:
    answer = http.post("/feedback/query", json={"project_id": project_id})
    return [one["id"] for one in answer.json()["result"]]
