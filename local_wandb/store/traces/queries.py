"""Weave's query language, ``{"$expr": ...}``, compiled to SQL.

Source: docs/upstream/weave-protocol.md, "Query language".

As on W&B, a missing field equals null and the empty text. An order comparison between a number
and a text is false. Booleans count as 1 and 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from local_wandb.errors import RequestError
from local_wandb.store.traces.digests import json_text
from local_wandb.store.traces.sql import Sql, fill, join
from local_wandb.store.traces.timestamps import timestamp

#: Maximum number of terms in a query, because SQLite refuses expressions deeper than 1000.
MAX_TERMS = 500

_DATETIME = TypeAdapter(datetime)

_NUMBER = (
    "(SELECT CASE WHEN json_valid(v) AND json_type(v) IN ('integer', 'real')"
    " THEN CAST(v AS {kind}) END FROM (SELECT {{}} AS v))"
)
_CONVERSIONS = {
    "double": _NUMBER.format(kind="REAL"),
    "int": _NUMBER.format(kind="INTEGER"),
    "string": "CAST({} AS TEXT)",
    "bool": "(coalesce({}, '') NOT IN ('', 'false', '0', 0))",
    "exists": "(coalesce({}, '') IS NOT '')",
}


class Query(BaseModel):
    """A query as clients send it."""

    expression: dict[str, Any] = Field(alias="$expr")


class SortKey(BaseModel):
    """One key of an order; earlier keys take precedence."""

    field: str
    direction: Literal["asc", "desc"] = "asc"


@dataclass(frozen=True)
class Fields:
    """The fields that a query can name.

    Attributes:
        sql: Returns the SQL of a field; raises RequestError for an unknown name.
        times: Fields that contain a time; they compare with ISO texts and with epoch seconds.
    """

    sql: Callable[[str], Sql]
    times: frozenset[str] = frozenset()


def condition(query: Query | None, fields: Fields) -> Sql:
    """Return SQL that is true where a query holds; without a query it is always true.

    Raises:
        RequestError: The query is malformed.
    """
    return _Compiler(fields).expression(query.expression) if query else Sql("1")


def order(keys: Sequence[SortKey] | None, fields: Fields, default: str) -> Sql:
    """Return the SQL of an order.

    Args:
        fields: The fields that the keys can name.
        default: SQL that orders rows with equal keys.

    Raises:
        RequestError: A field is unknown.
    """
    parts = [fill("{} " + key.direction, fields.sql(key.field)) for key in keys or ()]
    return join(", ", [*parts, Sql(default)])


class _Convert(BaseModel):
    input: Any
    to: Literal["double", "string", "int", "bool", "exists"]


class _Contains(BaseModel):
    input: Any
    substr: Any
    case_insensitive: bool | None = False


class _Compiler:
    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._terms = 0
        self._operators: dict[str, Callable[[Any], Sql]] = {
            "$literal": self._literal,
            "$getField": self._get_field,
            "$convert": self._convert,
            "$and": lambda nodes: fill("({})", join(" AND ", self._operands(nodes))),
            "$or": lambda nodes: fill("({})", join(" OR ", self._operands(nodes))),
            "$not": lambda nodes: fill("(NOT coalesce({}, 0))", *self._operands(nodes, 1)),
            "$eq": lambda nodes: fill("(coalesce({}, '') IS coalesce({}, ''))", *self._pair(nodes)),
            "$gt": lambda nodes: self._compare(">", nodes),
            "$gte": lambda nodes: self._compare(">=", nodes),
            "$lt": lambda nodes: self._compare("<", nodes),
            "$lte": lambda nodes: self._compare("<=", nodes),
            "$in": self._in,
            "$contains": self._contains,
        }

    def expression(self, node: Any) -> Sql:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise RequestError(f"the query has more than {MAX_TERMS} terms; use $in for long lists")
        if not isinstance(node, dict) or len(node) != 1:
            raise RequestError(f"{_shown(node)} is not an operation such as {{'$eq': [...]}}")
        [(operator, body)] = node.items()
        if operator not in self._operators:
            raise RequestError(f"{_shown(operator)} is not an operator of the query language")
        try:
            return self._operators[operator](body)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise RequestError(f"{operator} of {_shown(body)}: {reason}") from None

    def _operands(self, nodes: Any, count: int | None = None) -> list[Sql]:
        if not isinstance(nodes, list) or not nodes or count not in (None, len(nodes)):
            raise RequestError(
                f"{_shown(nodes)} is not a list of {count or 'one or more'} operands"
            )
        return [self.expression(node) for node in nodes]

    def _pair(self, nodes: Any) -> list[Sql]:
        if isinstance(nodes, list) and any(self._is_time(node) for node in nodes):
            nodes = [_as_timestamp(node) for node in nodes]
        return self._operands(nodes, 2)

    def _is_time(self, node: Any) -> bool:
        return isinstance(node, dict) and node.get("$getField") in self._fields.times

    def _compare(self, sign: str, nodes: Any) -> Sql:
        left, right = self._pair(nodes)
        number = "(typeof({}) IN ('integer', 'real'))"
        template = f"({number} = {number} AND coalesce({{}} {sign} {{}}, 0))"
        return fill(template, left, right, left, right)

    def _literal(self, value: Any) -> Sql:
        if not isinstance(value, str | int | float | None):
            raise RequestError(f"{_shown(value)} cannot be compared: not a text, a number or null")
        return Sql("?", (value,))

    def _get_field(self, name: Any) -> Sql:
        if not isinstance(name, str):
            raise RequestError(f"{_shown(name)} is not the name of a field")
        return self._fields.sql(name)

    def _convert(self, body: Any) -> Sql:
        spec = _Convert.model_validate(body)
        return fill(_CONVERSIONS[spec.to], self.expression(spec.input))

    def _contains(self, body: Any) -> Sql:
        spec = _Contains.model_validate(body)
        text = "lower({})" if spec.case_insensitive else "{}"
        template = f"(instr(coalesce({text}, ''), coalesce({text}, '')) > 0)"
        return fill(template, self.expression(spec.input), self.expression(spec.substr))

    def _in(self, body: Any) -> Sql:
        match body:
            case [operand, [*literals]] if all(_is_literal(node) for node in literals):
                listed = json_text([node["$literal"] for node in literals])
                values = Sql("(SELECT coalesce(value, '') FROM json_each(?))", (listed,))
                return fill("(coalesce({}, '') IN {})", self.expression(operand), values)
        raise RequestError(f"{_shown(body)} is not an operand and a list of literals")


def _is_literal(node: Any) -> bool:
    return isinstance(node, dict) and list(node) == ["$literal"]


def _as_timestamp(node: Any) -> Any:
    """Return a literal as the text that is stored for its time; other nodes unchanged."""
    try:
        return {"$literal": timestamp(_DATETIME.validate_python(node["$literal"]))}
    except (ValidationError, TypeError, KeyError):
        return node


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
