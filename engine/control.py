"""Calls the engine's control endpoints over its Unix socket.

This uses the standard library because httpx2 2.16 leaves the socket open when nothing listens on it
yet, which is the case at the beginning of every start.
"""

import http.client
import json
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any


class ControlError(Exception):
    """The engine answered with an error status; the message is the body of its answer.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, answer: str) -> None:
        self.status = status
        super().__init__(answer)

    @property
    def is_client_error(self) -> bool:
        """Whether the request is at fault (4xx) and not the engine."""
        return self.status < http.HTTPStatus.INTERNAL_SERVER_ERROR


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(
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
        path: The endpoint, such as "/health".
        body: The JSON body.
        timeout: Longest time without a byte from the engine, in seconds.

    Returns:
        The JSON object in the answer; empty if the answer is not JSON.

    Raises:
        OSError: Nothing listens on the socket, or the request timed out.
        http.client.HTTPException: The connection broke during the answer.
        ControlError: The engine answered with an error status.
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
