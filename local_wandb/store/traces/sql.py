"""Pieces of SQL with the values of their placeholders."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from local_wandb.errors import RequestError
from local_wandb.store.traces.digests import json_text

_DOT = re.compile(r"(?<!\\)\.")


@dataclass(frozen=True)
class Sql:
    """A piece of SQL and the values of its placeholders, in order."""

    text: str
    args: tuple[Any, ...] = ()


def fill(template: str, *parts: Sql) -> Sql:
    """Insert pieces of SQL into a template.

    Args:
        template: SQL with one ``{}`` for each piece.
        parts: The pieces, in order.
    """
    args = tuple(arg for part in parts for arg in part.args)
    return Sql(template.format(*(part.text for part in parts)), args)


def join(separator: str, parts: Sequence[Sql]) -> Sql:
    """Join pieces of SQL.

    Args:
        separator: The SQL between two pieces.
        parts: The pieces, at least one.
    """
    return fill(separator.join(["{}"] * len(parts)), *parts)


def in_list(value: str, choices: Sequence[str] | None) -> Iterator[Sql]:
    """Build the condition that a value is in a list.

    Args:
        value: The SQL of the value.
        choices: The list; None or an empty list is no condition, as on W&B.

    Yields:
        The condition, if there is one.
    """
    if choices:
        column = Sql(value)
        listed = Sql("(SELECT value FROM json_each(?))", (json_text(choices),))
        yield fill("{} IN {}", column, listed)


def json_field(column: str, path: str) -> Sql:
    r"""Return the SQL of a value inside a JSON column.

    Args:
        column: The SQL of the column.
        path: Keys and list positions joined by dots; ``\.`` is a dot inside a key. An empty path is
            the whole column.

    Raises:
        RequestError: A key contains a character that SQLite's paths do not support.
    """
    if '"' in path or "\0" in path:
        raise RequestError(f"{path!r} cannot be queried: a key contains a quotation mark")
    keys = [key.replace("\\.", ".") for key in _DOT.split(path)] if path else []
    steps = (f"[{key}]" if key.isascii() and key.isdigit() else f'."{key}"' for key in keys)
    return Sql(f"json_extract({column}, ?)", ("$" + "".join(steps),))
