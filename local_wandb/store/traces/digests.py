"""Weave's content digests, and the JSON that is stored.

Source: docs/upstream/weave-protocol.md, "Digests and references".
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from local_wandb.errors import ConflictError
from local_wandb.store.traces.errors import InvalidValueError

#: Pydantic reads JSON up to 200 levels deep and SQLite up to 1000; a record adds a few.
MAX_DEPTH = 150


def json_text(value: Any) -> str:
    """Return a JSON value as the text that is stored.

    It is not escaped to ASCII, because SQLite before 3.45 compares the keys of a path with the raw
    text.

    Raises:
        InvalidValueError: The value contains NaN, an infinity or half a surrogate pair, or is
            nested more than ``MAX_DEPTH`` deep.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError as error:
        raise InvalidValueError(f"the value is not JSON: {error}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise InvalidValueError(f"the value is nested more than {MAX_DEPTH} deep")
    return text


def _depth(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case list():
            return 1 + max(map(_depth, value), default=0)
    return 0


def encode(sha256: bytes) -> str:
    """Return a SHA-256 (32 bytes) as the 43 characters in which Weave writes it."""
    text = base64.urlsafe_b64encode(sha256).decode()
    return text.replace("-", "X").replace("_", "Y").rstrip("=")


def value_digest(value: Any) -> str:
    """Return the digest of a JSON value: an object's value or a table row."""
    return encode(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest())


def table_digest(row_digests: Iterable[str]) -> str:
    """Return the digest of a table, 64 hexadecimal digits.

    Args:
        row_digests: The digests of its rows, in order.
    """
    return hashlib.sha256("".join(row_digests).encode()).hexdigest()


def check(digest: str, expected: str | None) -> None:
    """Compare a digest with the one that the client computed.

    Args:
        digest: The digest of the content that arrived.
        expected: The client's digest, if it sent one.

    Raises:
        ConflictError: The digests differ.
    """
    if expected is not None and expected != digest:
        raise ConflictError(f"the digest is {digest}, but {expected} was expected")
