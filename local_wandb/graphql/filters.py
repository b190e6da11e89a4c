"""The MongoDB-like filters and the orders that ``wandb.Api`` sends as JSON text.

A row is matched as a document: a dictionary with W&B's field names
(docs/upstream/wandb-protocol.md, "Filters and orders"). As in MongoDB, a list in a document
matches when one of its elements does.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from local_wandb.errors import RequestError
from local_wandb.graphql.names import snake_case

Document = Mapping[str, Any]
RowT = TypeVar("RowT")


def select(
    rows: Iterable[RowT],
    document: Callable[[RowT], Document],
    filters: str | None,
    order: str | None = None,
) -> list[RowT]:
    """Return the rows that pass a filter, sorted.

    Args:
        rows: The rows, oldest first.
        document: Returns the document of a row.
        filters: JSON text, for example ``{"$and": [{"state": "finished"}]}``; None selects all.
        order: The field, with ``-`` for descending; None puts the newest first.

    Raises:
        RequestError: The filter has an unknown operator, or is not an object.
    """
    wanted = json.loads(filters or "{}") or {}
    chosen = [row for row in rows if not wanted or matches(document(row), wanted)]
    if not order or order[0] == "-":
        chosen.reverse()
    if order:
        path = order.lstrip("+-")
        chosen.sort(key=lambda row: _sort_key(_field(document(row), path)), reverse=order[0] == "-")
    return chosen


def matches(document: Document, wanted: Any) -> bool:
    """Return whether a document passes a parsed filter.

    Raises:
        RequestError: The filter has an unknown operator, or is not an object.
    """
    if not isinstance(wanted, dict):
        raise RequestError(f"a filter must be an object, not {json.dumps(wanted)}")
    return all(_clause(document, key, value) for key, value in wanted.items())


def _clause(document: Document, key: str, value: Any) -> bool:
    if key in _COMBINED:
        if not isinstance(value, list):
            raise RequestError(f"{key} needs a list of filters")
        return _COMBINED[key](matches(document, part) for part in value)
    if key == "$not":
        return not matches(document, value)
    return _condition(_field(document, key), value)


def _condition(values: list[Any], wanted: Any) -> bool:
    if not (isinstance(wanted, dict) and any(key.startswith("$") for key in wanted)):
        return wanted in values or (wanted is None and not values)
    return all(_operate(name, values, argument) for name, argument in wanted.items())


def _operate(name: str, values: list[Any], argument: Any) -> bool:
    if name == "$not":
        return not _condition(values, argument)
    if name == "$exists":
        return bool(values) == bool(argument)
    if name in _NEGATED:
        return not any(_ANY_VALUE[_NEGATED[name]](value, argument) for value in values)
    if name not in _ANY_VALUE:
        raise RequestError(f"filter operator '{name}' is unknown")
    return any(_ANY_VALUE[name](value, argument) for value in values)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def safe(value: Any, argument: Any) -> bool:
        try:
            return compare(value, argument)
        except TypeError:  # 3 < "x": values of different kinds have no order
            return False

    return safe


def _search(value: Any, pattern: Any) -> bool:
    try:
        return isinstance(value, str) and re.search(pattern, value) is not None
    except (re.error, TypeError):
        raise RequestError(f"{pattern!r} is not a regular expression") from None


_ANY_VALUE: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda value, argument: bool(value == argument),
    "$in": _ordered(lambda value, argument: value in argument),
    "$gt": _ordered(lambda value, argument: bool(value > argument)),
    "$gte": _ordered(lambda value, argument: bool(value >= argument)),
    "$lt": _ordered(lambda value, argument: bool(value < argument)),
    "$lte": _ordered(lambda value, argument: bool(value <= argument)),
    "$regex": _search,
    "$contains": _ordered(lambda value, argument: argument in value),
}
_COMBINED: dict[str, Callable[[Iterable[bool]], bool]] = {
    "$and": all,
    "$or": any,
    "$nor": lambda parts: not any(parts),
}
_NEGATED = {"$ne": "$eq", "$nin": "$in"}


def _field(document: Document, path: str) -> list[Any]:
    """Return the values of a field; clients write ``jobType`` as well as ``job_type``."""
    head, dot, rest = path.partition(".")
    return _values(document, snake_case(head) + dot + rest)


def _values(document: Any, path: str) -> list[Any]:
    """Return the values at a dotted path; a key may itself contain dots."""
    if not isinstance(document, Mapping):
        return []
    if path in document:
        value = document[path]
        return value if isinstance(value, list) else [value]
    parts = path.split(".")
    heads = (".".join(parts[:i]) for i in range(len(parts) - 1, 0, -1))
    for head in heads:
        if head in document:
            return _values(document[head], path[len(head) + 1 :])
    return []


def _sort_key(values: list[Any]) -> tuple[int, Any]:
    value = values[0] if values else None
    if value is None:
        return 0, 0
    return (1, value) if isinstance(value, int | float) else (2, str(value))
