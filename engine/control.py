"""Asks the engine's own endpoints over its Unix socket.

The standard library does: httpx2 2.16 leaves the socket open when the engine does not listen yet,
which is what every start begins with.
"""

import http.client
import json
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any


class ControlError(Exception):
    """The engine refused a request; the message is its answer.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, answer: str) -> None:
        self.status = status
        super().__init__(answer)

    @property
    def blames_request(self) -> bool:
        """Whether the engine finds fault with what it was asked (4xx), not with itself."""
        return self.status < http.HTTPStatus.INTERNAL_SERVER_ERROR


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    engine: Path,
    method: str,
    path: str,
    *,
    body: Mapping[str, object] | None = None,
    timeout: float,
) -> dict[str, Any]:
    """Send one request.

    Args:
        engine: The engine's Unix socket.
        method: "GET" or "POST".
        path: The endpoint, e.g. "/health".
        body: What is sent, as JSON.
        timeout: Seconds the engine may stay silent.

    Returns:
        The JSON object that was answered; empty when the answer is something else.

    Raises:
        OSError: Nobody listens, or nobody answered in time.
        http.client.HTTPException: The engine ended while it answered.
        ControlError: The engine refused.
    """
    headers = {"Content-Type": "application/json"}
    with closing(_UnixConnection(engine, timeout)) as connection:
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        content = response.read()
    if response.status != http.HTTPStatus.OK:
        raise ControlError(response.status, content.decode(errors="replace"))
    is_json = response.headers.get_content_type() == "application/json"
    answer: dict[str, Any] = json.loads(content) if content and is_json else {}
    return answer
