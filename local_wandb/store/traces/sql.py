"""Pieces of SQL that travel with their values."""

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
    """Put pieces into a template.

    Args:
        template: SQL with one `{}` for each piece.
        parts: the pieces, in order.
    """
    args = tuple(arg for part in parts for arg in part.args)
    return Sql(template.format(*(part.text for part in parts)), args)


def join(separator: str, parts: Sequence[Sql]) -> Sql:
    """Put pieces one after the other.

    Args:
        separator: what stands between them.
        parts: the pieces, at least one.
    """
    return fill(separator.join(["{}"] * len(parts)), *parts)


def one_of(value: str, choices: Sequence[str] | None) -> Iterator[Sql]:
    """The condition that a value is in a list.

    Args:
        value: SQL.
        choices: the list; without one, or with an empty one, every value will do, as on W&B.

    Yields:
        The condition, if there is one.
    """
    if choices:
        column = Sql(value)
        listed = Sql("(SELECT value FROM json_each(?))", (json_text(choices),))
        yield fill("{} IN {}", column, listed)


def json_field(column: str, path: str) -> Sql:
    r"""A value inside a JSON column.

    Args:
        column: SQL.
        path: keys and list positions joined by dots, `\.` is a dot inside a key; an empty path
            is the whole column.

    Raises:
        RequestError: A key that SQLite's paths cannot hold.
    """
    if '"' in path or "\0" in path:
        raise RequestError(f"{path!r} cannot be queried: a key holds a quotation mark")
    keys = [key.replace("\\.", ".") for key in _DOT.split(path)] if path else []
    steps = (f"[{key}]" if key.isascii() and key.isdigit() else f'."{key}"' for key in keys)
    return Sql(f"json_extract({column}, ?)", ("$" + "".join(steps),))
