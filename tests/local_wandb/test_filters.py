"""Mongo-like filters."""

import json
from typing import Any

import pytest

from local_wandb.errors import RequestError
from local_wandb.graphql.filters import matches, select

DOCUMENT = {
    "name": "Climate",
    "job_type": "train",
    "tag": ["lora", "good"],
    "version": [3, "v3"],
    "config": {"lr": 0.1, "optimizer.name": "adam", "deep": {"er": 1}},
    "description": None,
}


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"name": "Climate"},
        {"jobType": "train"},
        {"tag": "good"},
        {"version": "v3"},
        {"version": {"$gte": 3}},
        {"config.lr": {"$gt": 0, "$lt": 1}},
        {"config.optimizer.name": "adam"},
        {"config.deep.er": {"$in": [1, 2]}},
        {"config.lr": {"$nin": [1, 2]}},
        {"name": {"$regex": "^Cl.*e$"}},
        {"name": {"$contains": "mat"}},
        {"name": {"$not": {"$regex": "^X"}}},
        {"name": {"$ne": "Weather"}},
        {"missing": {"$exists": False}},
        {"missing": None},
        {"description": None},
        {"tag": {"$exists": True}},
        {"$and": [{"tag": "lora"}, {"tag": "good"}]},
        {"$or": [{"tag": "bad"}, {"tag": "good"}]},
        {"$nor": [{"tag": "bad"}, {"name": "Weather"}]},
        {"$not": {"tag": "bad"}},
    ],
)
def test_a_filter_passes_and_its_negation_does_not(wanted: dict[str, Any]) -> None:
    assert matches(DOCUMENT, wanted)
    assert not matches(DOCUMENT, {"$not": wanted})


def test_values_of_different_types_have_no_order() -> None:
    assert not matches(DOCUMENT, {"name": {"$gt": 3}})
    assert not matches(DOCUMENT, {"config.lr": {"$in": 3}})


@pytest.mark.parametrize(
    "wanted", [[1], {"name": {"$near": 1}}, {"name": {"$regex": "("}}, {"$and": [3]}, {"$or": 3}]
)
def test_an_invalid_filter_is_refused(wanted: Any) -> None:
    with pytest.raises(RequestError):
        select([DOCUMENT], lambda row: row, json.dumps(wanted))


def test_rows_are_sorted_by_a_field_and_newest_first_without_one() -> None:
    rows = [{"n": 2}, {"n": 1}, {}, {"n": 2, "later": True}]
    assert select(rows, dict, None, "+n") == [{}, {"n": 1}, {"n": 2}, {"n": 2, "later": True}]
    assert select(rows, dict, None, "-n") == [{"n": 2, "later": True}, {"n": 2}, {"n": 1}, {}]
    assert select(rows, dict, "null") == rows[::-1]
