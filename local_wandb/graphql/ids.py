"""W&B's opaque ids: base64 of ``Kind:<number>``.

Source: docs/upstream/wandb-protocol.md, "Ids, scalars and nulls".
"""

import base64
import binascii
from typing import Protocol

from local_wandb.errors import NotFoundError


class Row(Protocol):
    """A row of the store."""

    @property
    def id(self) -> int:
        """The primary key."""


def global_id(row: Row, kind: str | None = None) -> str:
    """Return the id that clients see.

    Args:
        kind: The name before the number; by default the name of the row's class.
    """
    return base64.b64encode(f"{kind or type(row).__name__}:{row.id}".encode()).decode()


def row_id(kind: type, text: str) -> int:
    """Return the primary key inside an opaque id.

    Args:
        kind: The class of the rows to which the id must belong.
        text: The id that the client sent.

    Raises:
        NotFoundError: The text is not an id of that kind.
    """
    try:
        name, _, number = base64.b64decode(text, validate=True).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        name = number = ""
    if name != kind.__name__ or not number.isdigit():
        raise NotFoundError(f"'{text}' is not the id of {kind.__name__}")
    return int(number)
