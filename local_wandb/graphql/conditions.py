"""Compiles filters of versions to SQL, so that a page of many versions costs only that page."""

import json
from typing import Any

from local_wandb.graphql.names import snake_case
from local_wandb.store.version_list import Condition

#: The fields that a filter can name, as columns of the version's artifact ``a``.
COLUMNS = {"created_at": "a.created_at", "updated_at": "a.updated_at", "state": "a.state"}
OPERATORS = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
LOGICAL_OPERATORS = {"$and": " AND ", "$or": " OR "}


def condition(filters: str | None) -> Condition | None:
    """Return a filter of versions as SQL.

    Args:
        filters: JSON text, as for ``filters.select``.

    Returns:
        The condition, or None if only the versions' documents can answer the filter.
    """
    try:
        return _all(json.loads(filters or "{}") or {})
    except _NotInSqlError:
        return None


class _NotInSqlError(Exception):
    pass


def _all(wanted: Any) -> Condition:
    if not isinstance(wanted, dict):
        raise _NotInSqlError
    return _joined(" AND ", [_clause(key, value) for key, value in wanted.items()])


def _clause(key: str, value: Any) -> Condition:
    if key in LOGICAL_OPERATORS and isinstance(value, list) and value:
        return _joined(LOGICAL_OPERATORS[key], [_all(part) for part in value])
    column = COLUMNS.get(snake_case(key))
    tests = value if isinstance(value, dict) else {"$eq": value}
    if column is None or not all(_is_simple(name, text) for name, text in tests.items()):
        raise _NotInSqlError
    parts = [Condition(f"{column} {OPERATORS[name]} ?", (text,)) for name, text in tests.items()]
    return _joined(" AND ", parts)


def _is_simple(operator: str, value: Any) -> bool:
    return operator in OPERATORS and isinstance(value, str)


def _joined(separator: str, parts: list[Condition]) -> Condition:
    if not parts:
        return Condition("TRUE", ())
    sql = separator.join(part.sql for part in parts)
    return Condition(f"({sql})", tuple(value for part in parts for value in part.values))
