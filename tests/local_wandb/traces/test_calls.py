"""Traced calls, as the real client writes them and reads them back."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import weave
from weave.trace.weave_client import WeaveClient

from local_wandb import LocalWandb

Connect = Callable[[LocalWandb, str, str], WeaveClient]


def test_a_traced_op_shows_its_tree_inputs_output_and_status(weave_client: WeaveClient) -> None:
    @weave.op
    def double(x: int) -> int:
        return 2 * x

    @weave.op
    def quadruple(x: int) -> int:
        return double(double(x))

    output, call = quadruple.call(3)
    weave_client.flush()

    assert output == 12
    root = weave_client.get_call(call.id)
    children = list(root.children())
    assert (root.inputs["x"], root.output) == (3, 12)
    assert [(child.inputs["x"], child.output) for child in children] == [(3, 6), (6, 12)]
    assert {child.parent_id for child in children} == {call.id}
    assert {child.trace_id for child in children} == {root.trace_id}
    assert root.summary["status_counts"] == {"success": 3, "error": 0}
    assert root.summary["weave"]["status"] == "success"
    assert root.summary["weave"]["trace_name"] == "quadruple"
    assert root.summary["weave"]["latency_ms"] >= 0
    assert [c.id for c in weave_client.get_calls(filter={"trace_roots_only": True})] == [call.id]


def test_an_error_sets_the_status_of_its_call_and_its_parents(weave_client: WeaveClient) -> None:
    @weave.op
    def fails() -> None:
        raise ValueError("no such passage")

    @weave.op
    def survives() -> str:
        try:
            fails()
        except ValueError:
            return "unanswered"
        return "answered"

    _, call = survives.call()
    weave_client.flush()

    root = weave_client.get_call(call.id)
    [child] = root.children()
    assert root.summary["weave"]["status"] == "descendant_error"
    assert child.summary["weave"]["status"] == "error"
    assert "no such passage" in child.exception


def test_usage_adds_up_and_costs_follow_the_price(weave_client: WeaveClient) -> None:
    @weave.op
    def complete(prompt: str) -> dict[str, object]:
        tokens = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
        return {"model": "small-chat", "content": prompt.upper(), "usage": tokens}

    @weave.op
    def answer() -> None:
        complete("a")
        complete("b")

    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    weave_client.add_cost("small-chat", 100.0, 100.0)  # applies to later calls only
    weave_client.add_cost("small-chat", 0.5, 2.0, effective_date=an_hour_ago - timedelta(hours=1))
    weave_client.add_cost("small-chat", 1.0, 2.0, effective_date=an_hour_ago)
    [future_price] = [
        cost for cost in weave_client.query_costs() if cost.prompt_token_cost == 100.0
    ]
    weave_client.purge_costs(future_price.id or "")
    _, call = answer.call()
    weave_client.flush()

    summary = weave_client.get_call(call.id, include_costs=True).summary
    assert summary["usage"]["small-chat"]["total_tokens"] == 28
    costs = summary["weave"]["costs"]["small-chat"]
    assert (costs["prompt_tokens"], costs["completion_tokens"], costs["requests"]) == (20, 8, 2)
    assert costs["prompt_tokens_total_cost"] == 20.0
    assert costs["completion_tokens_total_cost"] == 16.0
    assert len(weave_client.query_costs(llm_ids=["small-chat"])) == 2


def test_calls_are_found_by_attribute_filter_sort_and_slice(weave_client: WeaveClient) -> None:
    @weave.op
    def score(n: int) -> dict[str, int]:
        return {"value": n % 4}

    for run in ("run-a", "run-b"):
        with weave.attributes({"wandb-run-id": run}):
            for n in range(6):
                score(n)
    weave_client.flush()

    in_run_a = {"$eq": [{"$getField": "attributes.wandb-run-id"}, {"$literal": "run-a"}]}
    high = {"$gte": [{"$getField": "output.value"}, {"$literal": 2}]}
    found = weave_client.get_calls(
        query={"$expr": {"$and": [in_run_a, high]}},
        sort_by=[{"field": "inputs.n", "direction": "desc"}],
        columns=["inputs.n"],
    )
    assert [call.inputs["n"] for call in found] == [3, 2]
    assert len(weave_client.get_calls(query={"$expr": in_run_a})) == 6
    assert [call.inputs["n"] for call in weave_client.get_calls(limit=3, offset=4)] == [4, 5, 0]
    name = f"weave:///{weave_client.project_id}/op/score:*"
    assert len(weave_client.get_calls(filter={"op_names": [name]})) == 12
    assert len(weave_client.get_calls(filter={"op_names": [name.replace("score", "other")]})) == 0


def test_many_calls_come_back_completely_and_in_order(
    http: httpx.Client, weave_client: WeaveClient
) -> None:
    http.post(
        f"/v2/{weave_client.project_id}/calls/complete",
        json={"batch": [_call(weave_client.project_id, n) for n in range(2500)]},
    ).raise_for_status()

    lines = http.post("/calls/stream_query", json={"project_id": weave_client.project_id}).text
    assert lines.count("\n") == 2500
    assert [call.inputs["n"] for call in weave_client.get_calls(page_size=700)] == list(range(2500))
    assert len(weave_client.get_calls()) == 2500


def test_a_renamed_call_keeps_its_name_and_a_deleted_one_takes_its_children(
    weave_client: WeaveClient,
) -> None:
    @weave.op
    def inner() -> None:
        """Do nothing."""

    @weave.op
    def outer() -> None:
        inner()

    _, renamed = outer.call()
    renamed.set_display_name("before it arrives")
    _, deleted = outer.call()
    weave_client.flush()
    assert weave_client.get_call(renamed.id).display_name == "before it arrives"

    weave_client.delete_call(deleted)
    weave_client.delete_call(deleted)
    left = list(weave_client.get_calls())
    assert {call.trace_id for call in left} == {renamed.trace_id}
    assert len(left) == 2
    with pytest.raises(ValueError, match="not found"):
        weave_client.get_call(deleted.id)


def test_the_older_protocol_stores_the_same_calls(
    connect: Connect, server: LocalWandb, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEAVE_USE_CALLS_COMPLETE", "false")
    older = connect(server, project_id, "older")

    @weave.op
    def greet(name: str) -> str:
        return f"Hello {name}"

    greet("Ada")
    older.flush()
    [call] = older.get_calls()
    assert (call.output, call.summary["weave"]["status"]) == ("Hello Ada", "success")


def test_an_end_may_arrive_before_its_start_and_everything_twice(
    http: httpx.Client, project_id: str
) -> None:
    call = _call(project_id, 1)
    ended = {key: call[key] for key in ("project_id", "id", "ended_at", "output", "summary")}
    started = {key: value for key, value in call.items() if key not in ("ended_at", "summary")}

    for _ in range(2):
        http.post(f"/v2/{project_id}/call/end", json={"end": ended}).raise_for_status()
    assert http.post("/calls/query_stats", json={"project_id": project_id}).json()["count"] == 0
    for _ in range(2):
        http.post(f"/v2/{project_id}/call/start", json={"start": started}).raise_for_status()
    [read] = _read(http, project_id)
    assert (read["output"], read["summary"]["weave"]["status"]) == ({"n": 1}, "success")


def test_a_batch_with_one_bad_call_stores_none(http: httpx.Client, project_id: str) -> None:
    good, bad = _call(project_id, 1), _call(project_id, 2)
    body = {"batch": [good, {**bad, "summary": "no summary"}]}
    answer = http.post(f"/v2/{project_id}/calls/complete", json=body)
    assert answer.status_code == 422
    assert "summary" in answer.json()["reason"]
    assert _read(http, project_id) == []


def _call(project_id: str, n: int) -> dict[str, object]:
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=n)
    return {
        "project_id": project_id,
        "id": f"call-{n:05}",
        "trace_id": f"trace-{n}",
        "op_name": "numbers",
        "started_at": start.isoformat(),
        "ended_at": (start + timedelta(milliseconds=5)).isoformat(),
        "attributes": {},
        "inputs": {"n": n},
        "output": {"n": n},
        "summary": {},
    }


def _read(http: httpx.Client, project_id: str) -> list[dict[str, Any]]:
    lines = http.post("/calls/stream_query", json={"project_id": project_id}).iter_lines()
    return [json.loads(line) for line in lines]
