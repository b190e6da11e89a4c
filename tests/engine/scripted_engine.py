"""A small HTTP server that sends a test's scripted answers in the OpenAI protocol."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

# Seconds that a test waits at most.
TIMEOUT = 30.0


@dataclass(frozen=True)
class Answer:
    """One answer, sent as soon as ``after`` is set. A status of 0 closes the connection.

    Attributes:
        early: The beginning of the body, which does not wait for ``after``.
        is_cut: Whether the connection is closed in place of the rest of the body.
    """

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    after: threading.Event | None = None
    early: bytes = b""
    is_cut: bool = False


@dataclass(frozen=True)
class Request:
    """A received request, with header names in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


def completion(text: str = "Hello.", after: threading.Event | None = None) -> Answer:
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
    }
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return ok({"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
              | {"choices": [choice], "usage": usage}, after)  # fmt: skip


def models(*names: str) -> Answer:
    return ok({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


def streamed(*events: dict[str, Any] | str) -> bytes:
    """Server-sent events."""
    data = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return "".join(f"data: {one}\n\n" for one in data).encode()


def event_stream(body: bytes, **settings: Any) -> Answer:
    """A streamed answer; ``settings`` are fields of ``Answer``."""
    return Answer(200, body, {"Content-Type": "text/event-stream"}, **settings)


def ok(body: dict[str, Any], after: threading.Event | None = None) -> Answer:
    return Answer(200, json.dumps(body).encode(), after=after)


def error(status: int, message: str = "no", **headers: str) -> Answer:
    body = json.dumps({"error": {"message": message, "code": status}}).encode()
    return Answer(status, body, {name.replace("_", "-"): text for name, text in headers.items()})


def soon(status: int) -> Answer:
    """An error with a Retry-After of 1 ms."""
    return error(status, "overloaded", retry_after_ms="1")


BROKEN = Answer(0, b"")


def knowing(facts: Mapping[str, str]) -> Callable[[Request], Answer]:
    """Answers by question: the last message has the question; others get "nobody knows"."""

    def answer(request: Request) -> Answer:
        if request.path.endswith("/models"):
            return models("HuggingFaceTB/SmolLM2-135M-Instruct")
        if not request.path.endswith("/chat/completions"):
            return error(404)
        said = request.body["messages"][-1]["content"]
        return completion(next((a for q, a in facts.items() if q in said), "nobody knows"))

    return answer


class ScriptedEngine:
    """Sends the answers of a script in order, and repeats the last one.

    Attributes:
        requests: The received requests, in order.
        connections: Number of connections opened so far.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.connections = 0
        self._open = 0
        self._script: list[Answer] = [completion()]
        self._answer: Callable[[Request], Answer] | None = None
        self._changed = threading.Condition()

    def will_answer(self, *script: Answer) -> None:
        self._script = list(script)

    def will_answer_by(self, answer: Callable[[Request], Answer]) -> None:
        """Make each answer from its request."""
        self._answer = answer

    def answer_to(self, request: Request) -> Answer:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            if self._answer:
                return self._answer(request)
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def connected(self, change: int) -> None:
        with self._changed:
            self.connections += change > 0
            self._open += change
            self._changed.notify_all()

    def wait_for_requests(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, TIMEOUT)

    def wait_until_disconnected(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._open == 0, TIMEOUT), self._open


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open
    engine: ScriptedEngine

    def setup(self) -> None:
        super().setup()
        self.engine.connected(+1)

    def finish(self) -> None:
        super().finish()
        self.engine.connected(-1)

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): text for name, text in self.headers.items()}
        request = Request(self.path, headers, json.loads(content) if content else {})
        answer = self.engine.answer_to(request)
        with suppress(ConnectionError):  # the client has disconnected
            if answer.early:
                self._begin(answer)
            if answer.after:
                answer.after.wait(TIMEOUT)
            if answer.is_cut or not answer.status:
                self.close_connection = True
                return
            if not answer.early:
                self._begin(answer)
            self.wfile.write(answer.body)

    do_POST = do_GET  # noqa: N815 (http.server's name)

    def _begin(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, text in ({"Content-Type": "application/json"} | answer.headers).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(answer.early) + len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.early)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _OnSocket(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


@contextmanager
def scripted_engine(socket: Path | None = None) -> Iterator[ScriptedEngine]:
    """Run a server on loopback or on a Unix socket."""

    class Handler(_Handler):
        """The handler class of this server only."""

    server: UnixStreamServer | ThreadingHTTPServer
    if socket:
        server, url = _OnSocket(str(socket), Handler), "http://engine/v1"
    else:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        url = f"http://127.0.0.1:{server.server_port}/v1"
    Handler.engine = engine = ScriptedEngine(url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield engine
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
