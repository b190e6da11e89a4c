"""Datasets, with the real client."""

from typing import Any

import httpx
import pytest
import weave
from weave.trace.serialization.digest import compute_row_digest, compute_table_digest
from weave.trace.weave_client import WeaveClient


def test_a_dataset_of_1500_rows_comes_back_in_order(weave_client: WeaveClient) -> None:
    rows = [{"n": n, "text": f"Größe {n}"} for n in range(1500)]
    ref = weave.publish(weave.Dataset(name="numbers", rows=weave.Table(rows)))
    weave_client.flush()

    read = weave.ref(ref.uri).get()
    assert len(read.rows) == 1500
    assert [row["n"] for row in read.rows] == list(range(1500))
    row_ref = list(read.rows)[1234].ref.uri
    assert weave.ref(row_ref).get() == rows[1234]


def test_added_rows_make_a_new_version(weave_client: WeaveClient) -> None:
    weave.publish(weave.Dataset(name="numbers", rows=[{"n": 1}]))
    weave_client.flush()
    grown = weave.ref("numbers:latest").get().add_rows([{"n": 2}, {"n": 3}])
    weave.publish(grown, name="numbers")
    weave_client.flush()
    assert [row["n"] for row in weave.ref("numbers:v0").get().rows] == [1]
    assert [row["n"] for row in weave.ref("numbers:v1").get().rows] == [1, 2, 3]


def test_digests_are_the_clients_own(http: httpx.Client, project_id: str) -> None:
    rows: list[dict[str, Any]] = [{"b": 1.0, "a": "ä"}, {"b": None, "a": [1, {"z": True}]}]
    created = http.post("/table/create", json={"table": {"project_id": project_id, "rows": rows}})
    digests = [compute_row_digest(row) for row in rows]
    assert created.json() == {"digest": compute_table_digest(digests), "row_digests": digests}

    asked = {"project_id": project_id, "digest": created.json()["digest"]}
    assert http.post("/table/query_stats", json=asked).json() == {"count": 2}
    page = http.post("/table/query", json={**asked, "limit": 1, "offset": 1}).json()
    assert page == {"rows": [{"digest": digests[1], "val": rows[1], "original_index": 1}]}
    by_b = {**asked, "sort_by": [{"field": "b", "direction": "asc"}]}
    assert [r["original_index"] for r in http.post("/table/query", json=by_b).json()["rows"]] == [
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [
        ("/table/create_from_digests", {"row_digests": ["unknown"]}, 404),
        ("/table/query", {"digest": "unknown"}, 404),
        ("/table/update", {"base_digest": "unknown", "updates": []}, 404),
        ("/table/update", {"base_digest": "unknown", "updates": [{"pop": {"index": 0}}]}, 422),
        ("/table/create_from_digests", {"row_digests": [], "expected_digest": "x"}, 409),
    ],
)
def test_each_error_has_its_own_status(
    http: httpx.Client, project_id: str, route: str, body: dict[str, object], status: int
) -> None:
    assert http.post(route, json={"project_id": project_id, **body}).status_code == status


def test_an_empty_table_is_stored(http: httpx.Client, project_id: str) -> None:
    body = {"project_id": project_id, "row_digests": []}
    digest = http.post("/table/create_from_digests", json=body).json()["digest"]
    assert digest == compute_table_digest([])
    rows = http.post("/table/query", json={"project_id": project_id, "digest": digest}).json()
    assert rows == {"rows": []}
