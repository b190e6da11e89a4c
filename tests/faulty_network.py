"""A network that fails on demand, in front of a server that does not."""

import asyncio
import random
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_HEAD = 2**16  # bytes; longer than any request head of the SDKs
_CHUNK = 2**16
_START_TIMEOUT = 10.0  # seconds

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class FaultyNetwork:
    """A proxy that passes HTTP requests on to a server, and can make them fail.

    Any thread may change the attributes at any time.

    Args:
        target_url: The server's URL, http.
        seed: Seeds the choice of the requests that fail.

    Attributes:
        mode: ``ok``; ``slow``: requests are passed on after ``delay``; ``cut``: the connection is
            closed before the server receives the request; ``lost``: the server handles the
            request, but its response is dropped; or an HTTP status such as ``500`` or ``429`` to
            respond with.
        share: Share of the requests that fail.
        delay: Seconds that ``slow`` takes.
        url: The proxy's URL.
        hits: Number of requests that failed.
    """

    def __init__(self, target_url: str, seed: int = 0) -> None:
        target = urlsplit(target_url)
        self._target = (target.hostname, target.port)
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="faulty network", daemon=True)
        self._listens = threading.Event()
        self._requests: set[asyncio.Task[None] | None] = set()  # asyncio keeps only weak references
        self.mode = "ok"
        self.share = 1.0
        self.delay = 3600.0
        self.url = ""
        self.hits = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listens.wait(_START_TIMEOUT)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()

    def _run(self) -> None:
        with (
            asyncio.Runner(loop_factory=lambda: self._loop) as runner,
            suppress(asyncio.CancelledError),
        ):
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_HEAD)
        self._serving = asyncio.ensure_future(server.serve_forever())
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._listens.set()
        async with server:
            await self._serving

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._requests.add(task := asyncio.current_task())
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                mode = self._choose_mode()
                if await self._is_passed_on(mode, writer):
                    await self._pass_on(_closing(head), (reader, writer), mode == "lost")
        finally:
            writer.close()
            self._requests.discard(task)

    def _choose_mode(self) -> str:
        """Choose the mode for one request."""
        if self.mode == "ok" or self._random.random() >= self.share:
            return "ok"
        self.hits += 1
        return self.mode

    async def _is_passed_on(self, mode: str, writer: asyncio.StreamWriter) -> bool:
        match mode:
            case "ok" | "lost":
                return True
            case "slow":
                await asyncio.sleep(self.delay)
                return True
            case "cut":
                return False
            case status:
                writer.write(_answer(status))
                await writer.drain()
                return False

    async def _pass_on(self, head: bytes, client: Streams, is_lost: bool) -> None:
        upstream = await asyncio.open_connection(*self._target)
        upstream[1].write(head)
        sending = asyncio.create_task(_copy(client[0], upstream[1]))
        try:
            await _copy(upstream[0], None if is_lost else client[1])
        finally:
            sending.cancel()
            upstream[1].close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter | None) -> None:
    with suppress(ConnectionError):
        while chunk := await source.read(_CHUNK):
            if sink is not None:
                sink.write(chunk)
                await sink.drain()


def _closing(head: bytes) -> bytes:
    """The same request with `Connection: close`, so that a mode is chosen for each request."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close", b"", b""])


def _answer(status: str) -> bytes:
    body = b'{"errors": [{"message": "injected failure"}]}'
    return (
        f"HTTP/1.1 {status} Injected Failure\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body
