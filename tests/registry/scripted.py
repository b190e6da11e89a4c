"""A server with scripted responses, for failures that a real W&B has rarely."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """One response; `delay` is in seconds."""

    status: int = 200
    body: Any = field(default_factory=lambda: {"data": {"it": "is"}})
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass
class Scripted:
    """The server: its URL and the requests that it received."""

    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


@contextmanager
def scripted(*answers: Answer) -> Iterator[Scripted]:
    """Serve responses in this order, and then the last one repeatedly."""
    left = list(answers)
    released = threading.Event()

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.times.append(time.monotonic())
            server.credentials.append(self.headers["Authorization"])
            length = int(self.headers["Content-Length"])
            server.asked.append(json.loads(self.rfile.read(length)))
            answer = left.pop(0) if len(left) > 1 else left[0]
            released.wait(answer.delay)
            with suppress(ConnectionError):  # the client did not wait
                self._send(answer)

        def _send(self, answer: Answer) -> None:
            body = answer.body
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        server = Scripted(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            released.set()
            http.shutdown()
            thread.join()
