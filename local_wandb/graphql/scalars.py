"""Scalars that are validated, so that malformed values fail with 400 before a resolver runs."""

import json
from typing import Any

from graphql import GraphQLError, GraphQLScalarType, GraphQLSchema


def install(schema: GraphQLSchema) -> None:
    """Make a schema validate what clients send as JSONString and as Int64.

    The other scalars (JSON, DateTime) accept any value.

    Args:
        schema: The schema of ``schema.graphql``, changed in place.
    """
    for name, check in {"JSONString": _json_text, "Int64": _integer}.items():
        scalar = schema.type_map[name]
        assert isinstance(scalar, GraphQLScalarType)  # noqa: S101 - the schema is ours
        scalar.coerce_input_value = check  # variables
        scalar.parse_value = check  # type: ignore[method-assign]  # literals


def _json_text(value: Any) -> str:
    try:
        json.loads(value)
    except (TypeError, ValueError):
        raise GraphQLError("JSONString needs a string that holds a JSON document") from None
    return str(value)


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise GraphQLError("Int64 needs an integer")
    return value
