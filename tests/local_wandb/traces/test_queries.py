"""The query language, against a plain evaluation in Python."""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_wandb.errors import RequestError
from local_wandb.store.database import Database
from local_wandb.store.traces.queries import Query
from local_wandb.store.traces.records import Record, RecordStore
from local_wandb.store.traces.requests import Listing

PROJECT = "wandb-smle/queries"
KEYS = ("a", "b.c", "wandb-run-id", "Größe")
RECORDS: list[Record] = [
    {"id": "empty"},
    {"id": "texts", "a": "alpha", "b": {"c": ""}, "wandb-run-id": "run-1", "Größe": "ä"},
    {"id": "numbers", "a": 1, "b": {"c": 2.5}, "wandb-run-id": 0, "Größe": -3},
    {"id": "truths", "a": True, "b": {"c": False}, "wandb-run-id": None, "Größe": "1"},
    {"id": "others", "a": [1, 2], "b": "no object", "wandb-run-id": "RUN-1", "Größe": 2},
]

literals = st.sampled_from(["", "alpha", "run-1", "ä", "1", 0, 1, 2, 2.5, -3, True, False, None])
fields = st.sampled_from(KEYS).map(lambda key: {"$getField": key})
operands = fields | literals.map(lambda value: {"$literal": value})
comparisons = st.builds(
    lambda operator, left, right: {operator: [left, right]},
    st.sampled_from(["$eq", "$gt", "$gte", "$lt", "$lte"]),
    operands,
    operands,
) | st.builds(
    lambda field, values: {"$in": [field, [{"$literal": value} for value in values]]},
    fields,
    st.lists(literals, max_size=3),
)
expressions = st.recursive(
    comparisons,
    lambda inner: (
        st.builds(
            lambda operator, nodes: {operator: nodes},
            st.sampled_from(["$and", "$or"]),
            st.lists(inner, min_size=1, max_size=3),
        )
        | inner.map(lambda node: {"$not": [node]})
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def records() -> Iterator[RecordStore]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "records.db")
        store = RecordStore(database, "records", frozenset({"at"}))
        store.put(PROJECT, RECORDS)
        yield store
        database.close()


@given(expression=expressions)
def test_sql_and_python_agree(records: RecordStore, expression: dict[str, Any]) -> None:
    expected = [record["id"] for record in RECORDS if _value(expression, record)]
    assert _found(records, expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"$contains": {"input": {"$getField": "a"}, "substr": {"$literal": "LPH"}}}, []),
        (
            {
                "$contains": {
                    "input": {"$getField": "a"},
                    "substr": {"$literal": "LPH"},
                    "case_insensitive": True,
                }
            },
            ["texts"],
        ),
        ({"$eq": [{"$getField": "a.1"}, {"$literal": 2}]}, ["others"]),
        (
            {"$convert": {"input": {"$getField": "a"}, "to": "exists"}},
            ["texts", "numbers", "truths", "others"],
        ),
        ({"$convert": {"input": {"$getField": "b.c"}, "to": "bool"}}, ["numbers"]),
        (
            {
                "$eq": [
                    {"$convert": {"input": {"$getField": "Größe"}, "to": "int"}},
                    {"$literal": 1},
                ]
            },
            ["truths"],
        ),
        (
            {
                "$eq": [
                    {"$convert": {"input": {"$getField": "b.c"}, "to": "string"}},
                    {"$literal": "2.5"},
                ]
            },
            ["numbers"],
        ),
    ],
)
def test_texts_lists_and_conversions_are_compared(
    records: RecordStore, expression: dict[str, Any], expected: list[str]
) -> None:
    assert _found(records, expression) == expected


def test_times_compare_with_texts_and_epoch_seconds(tmp_path: Path) -> None:
    database = Database(tmp_path / "records.db")
    store = RecordStore(database, "records", frozenset({"at"}))
    store.put(PROJECT, [{"id": "1970", "at": "1970-01-01T00:00:10.000000Z"}])
    for earlier in (9, 9.5, "1970-01-01T01:00:09+01:00", "1970-01-01T00:00:09"):
        assert _found(store, {"$gt": [{"$getField": "at"}, {"$literal": earlier}]}) == ["1970"]
        assert _found(store, {"$gt": [{"$literal": earlier}, {"$getField": "at"}]}) == []
    database.close()


def test_a_dot_inside_a_key_is_escaped(tmp_path: Path) -> None:
    database = Database(tmp_path / "records.db")
    store = RecordStore(database, "records", frozenset())
    store.put(PROJECT, [{"id": "dotted", "model": {"gpt-4.1": 7}}])
    dotted = {"$eq": [{"$getField": r"model.gpt-4\.1"}, {"$literal": 7}]}
    assert _found(store, dotted) == ["dotted"]
    database.close()


def test_a_query_has_a_maximum_length(records: RecordStore) -> None:
    term = {"$eq": [{"$getField": "id"}, {"$literal": "empty"}]}
    assert _found(records, {"$or": [term] * 160}) == ["empty"]
    with pytest.raises(RequestError, match="more than 500 terms"):
        _found(records, {"$or": [term] * 200})
    many = [{"$literal": f"id-{n}"} for n in range(50_000)]
    assert _found(records, {"$in": [{"$getField": "id"}, many]}) == []


def _found(store: RecordStore, expression: dict[str, Any]) -> list[str]:
    query = Query.model_validate({"$expr": expression})
    return [found["id"] for found in store.query(Listing(project_id=PROJECT, query=query))]


def _value(node: dict[str, Any], record: Record) -> Any:
    [(operator, body)] = node.items()
    if operator == "$literal":
        return body
    if operator == "$getField":
        value: Any = record
        for key in body.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else value
    if operator == "$in":
        wanted = [_present(_value(literal, record)) for literal in body[1]]
        return _present(_value(body[0], record)) in wanted
    values = [_value(inner, record) for inner in body]
    return _LOGIC[operator](*values)


def _present(value: Any) -> Any:
    return "" if value is None else value


def _ordered(left: Any, right: Any) -> bool:
    return (
        left is not None and right is not None and isinstance(left, str) == isinstance(right, str)
    )


_LOGIC: dict[str, Callable[..., bool]] = {
    "$and": lambda *values: all(values),
    "$or": lambda *values: any(values),
    "$not": lambda value: not value,
    "$eq": lambda left, right: _present(left) == _present(right),
    "$gt": lambda left, right: _ordered(left, right) and left > right,
    "$gte": lambda left, right: _ordered(left, right) and left >= right,
    "$lt": lambda left, right: _ordered(left, right) and left < right,
    "$lte": lambda left, right: _ordered(left, right) and left <= right,
}
