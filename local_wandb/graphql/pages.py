"""Connections: the pages in which GraphQL clients read a list."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from local_wandb.errors import RequestError

#: Nodes per page by default.
DEFAULT_PAGE = 100


@dataclass(frozen=True)
class Edge:
    """A node and its position in the list."""

    node: Any
    cursor: str


@dataclass(frozen=True)
class PageInfo:
    """Whether and where the next page starts."""

    has_next_page: bool
    end_cursor: str | None


@dataclass(frozen=True)
class Connection:
    """One page of a list."""

    edges: list[Edge]
    page_info: PageInfo
    total_count: int


def page(nodes: Sequence[Any], first: int | None = None, after: str | None = None) -> Connection:
    """Return one page of a list.

    Args:
        nodes: The whole list.
        first: The maximum number of nodes on the page.
        after: The cursor of the last node of the previous page.

    Raises:
        RequestError: The cursor is malformed or the number is negative.
    """
    size = DEFAULT_PAGE if first is None else first
    if size < 0:
        raise RequestError(f"a page cannot have {size} nodes")
    start = _position(after) + 1 if after else 0
    cut = nodes[start : start + size]
    edges = [Edge(node, _cursor(start + i)) for i, node in enumerate(cut)]
    info = PageInfo(start + size < len(nodes), edges[-1].cursor if edges else None)
    return Connection(edges, info, len(nodes))


def single_page(nodes: Sequence[Any]) -> Connection:
    """Return a whole list as one page."""
    return page(nodes, first=len(nodes))


def _cursor(position: int) -> str:
    return base64.b64encode(str(position).encode()).decode()


def _position(cursor: str) -> int:
    try:
        return int(base64.b64decode(cursor, validate=True))
    except (binascii.Error, ValueError):
        raise RequestError(f"'{cursor}' is not a cursor") from None
