"""Invalid requests are answered with 4xx and a reason."""

import json

import httpx
import pytest

PROJECT = "wandb-smle/mistakes"
CALL = {
    "project_id": PROJECT,
    "id": "1",
    "trace_id": "1",
    "op_name": "op",
    "started_at": "2026-01-01T00:00:00Z",
    "ended_at": "2026-01-01T00:00:00Z",
    "attributes": {},
    "inputs": {},
    "summary": {},
}
NOTE = {"project_id": PROJECT, "weave_ref": "x", "feedback_type": "wandb.note.1"}
COMPLETE = f"/v2/{PROJECT}/calls/complete"
DEEP: object = "x"
for _ in range(300):
    DEEP = {"$not": [DEEP]}


def _query(expression: object) -> dict[str, object]:
    return {"project_id": PROJECT, "query": {"$expr": expression}}


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/obj/create", {}),
        ("/obj/create", {"obj": {"project_id": PROJECT, "object_id": "a/b", "val": 1}}),
        ("/obj/create", {"obj": {"project_id": "no-slash", "object_id": "a", "val": 1}}),
        ("/obj/read", {"project_id": PROJECT, "object_id": "a", "digest": "v99999999999"}),
        ("/obj/delete", {"project_id": PROJECT, "object_id": "a", "digests": ["unknown"]}),
        ("/objs/query", {"project_id": PROJECT, "sort_by": [{"field": "val"}]}),
        ("/objs/query", {"project_id": PROJECT, "limit": -1}),
        ("/refs/read_batch", {"refs": ["wandb-artifact:///a/b/c:v0"]}),
        ("/refs/read_batch", {"refs": [f"weave:///{PROJECT}/object/unknown:v0/attr/x"]}),
        ("/refs/read_batch", {"refs": "not a list"}),
        ("/file/create", {"project_id": PROJECT}),
        (COMPLETE, {"batch": [{**CALL, "started_at": "yesterday"}]}),
        (COMPLETE, {"batch": [{**CALL, "wb_run_step": 2**70}]}),
        (COMPLETE, {"batch": [{**CALL, "op_name": "\ud800"}]}),
        (COMPLETE, {"batch": [{**CALL, "inputs": {"\ud800": 1}}]}),
        (COMPLETE, {"batch": [{**CALL, "summary": {"usage": 3}}]}),
        ("/call/end", {"end": {"project_id": PROJECT, "id": "1"}}),
        ("/calls/stream_query", {"project_id": PROJECT, "filter": {"op_names": "not a list"}}),
        ("/calls/stream_query", {"project_id": PROJECT, "columns": ["nonsense"]}),
        ("/calls/stream_query", {"project_id": PROJECT, "sort_by": [{"field": "nonsense"}]}),
        ("/calls/stream_query", {"project_id": PROJECT, "offset": 2**80}),
        ("/calls/stream_query", _query({})),
        ("/calls/stream_query", _query({"$near": [1, 2]})),
        ("/calls/stream_query", _query({"$eq": [{"$getField": "id"}]})),
        ("/calls/stream_query", _query({"$eq": [{"$literal": []}, {"$literal": 1}]})),
        ("/calls/stream_query", _query({"$eq": [{"$literal": 2**70}, {"$literal": 1}]})),
        ("/calls/stream_query", _query({"$eq": [{"$getField": 'inputs.a"b'}, {"$literal": 1}]})),
        ("/calls/stream_query", _query({"$eq": [{"$getField": "nonsense"}, {"$literal": 1}]})),
        ("/calls/stream_query", _query({"$in": [{"$getField": "id"}, "text"]})),
        ("/calls/stream_query", _query({"$contains": {"input": {"$getField": "id"}}})),
        ("/calls/stream_query", _query({"$convert": {"input": {"$literal": 1}, "to": "date"}})),
        ("/calls/stream_query", _query({"$and": []})),
        ("/calls/query_stats", _query(DEEP)),
        ("/feedback/create", {"project_id": PROJECT, "weave_ref": "x", "feedback_type": "y"}),
        ("/feedback/create", {**NOTE, "payload": {"note": ""}}),
        ("/feedback/create", {**NOTE, "payload": {"note": "x" * 1025}}),
        ("/feedback/create", {**NOTE, "feedback_type": "y", "payload": {"x": "x" * 2**20}}),
        ("/feedback/purge", {"project_id": PROJECT}),
        ("/feedback/purge", _query({"$eq": [{"$getField": "creator"}, {"$literal": "ada"}]})),
        ("/feedback/purge", _query({"$or": "not a list"})),
        ("/cost/create", {"project_id": PROJECT, "costs": {"m": {"prompt_token_cost": "much"}}}),
    ],
)
def test_an_invalid_request_gets_a_reason(
    http: httpx.Client, route: str, body: dict[str, object]
) -> None:
    answer = _post(http, route, json.dumps(body).encode())
    assert 400 <= answer.status_code < 500
    assert answer.json()["reason"]


def test_invalid_json_gets_a_reason(http: httpx.Client) -> None:
    for content in (b"{", b"", b"[1]", b"\xff", b'{"obj": ' * 2000):
        answer = _post(http, "/obj/create", content)
        assert 400 <= answer.status_code < 500
        assert answer.json()["reason"]


def test_a_value_that_is_nested_too_deeply_is_refused(http: httpx.Client, project_id: str) -> None:
    for depth, status in ((100, 200), (200, 422), (5000, 422)):
        val = '{"a":' * depth + "1" + "}" * depth
        body = f'{{"obj": {{"project_id": "{project_id}", "object_id": "x", "val": {val}}}}}'
        assert _post(http, "/obj/create", body.encode()).status_code == status
    assert len(http.post("/objs/query", json={"project_id": project_id}).json()["objs"]) == 1


def test_nan_and_infinity_are_refused(http: httpx.Client) -> None:
    body = b'{"obj": {"project_id": "a/b", "object_id": "x", "val": {"score": NaN}}}'
    answer = _post(http, "/obj/create", body)
    assert answer.status_code == 422


def test_reserved_aliases_cannot_be_set_or_removed(http: httpx.Client, project_id: str) -> None:
    http.post("/obj/create", json={"obj": {"project_id": project_id, "object_id": "x", "val": 1}})
    for alias in ("latest", "v3", ""):
        body = {"project_id": project_id, "digest": "v0", "aliases": [alias]}
        assert http.put("/objs/x/aliases", json=body).status_code == 400


def test_unknown_keys_are_ignored(http: httpx.Client, project_id: str) -> None:
    new = {"project_id": project_id, "object_id": "x", "val": 1, "from_the_future": True}
    assert http.post("/obj/create", json={"obj": new, "more": 1}).status_code == 200
    query = {"project_id": project_id, "filter": {"colour": "blue"}, "from_the_future": True}
    assert len(http.post("/objs/query", json=query).json()["objs"]) == 1


def test_every_request_needs_the_key(http: httpx.Client) -> None:
    assert http.get("/server_info").status_code == 200
    assert http.get("/server_info", auth=("api", "another key")).status_code == 401


def _post(http: httpx.Client, route: str, content: bytes) -> httpx.Response:
    return http.post(route, content=content, headers={"Content-Type": "application/json"})
