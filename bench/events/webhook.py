"""The webhook receiver's rate, beside that of a FastAPI endpoint that does nothing.

`python -m bench.events.webhook [--deliveries N] [--json PATH]` starts a Redis, the receiver and the
bare endpoint, each in its own process under the same server. It measures them in turns, so that a
busy machine slows both. Every delivery is signed and names a different version.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import click
import uvloop
from fastapi import FastAPI

from bench.gate import write_gates
from bus.connection import connect
from bus.inbox import Inbox
from producers.webhook import serve
from rehearsal.processes import Processes
from rehearsal.redis_server import free_port, redis_server
from schemas.errors import InternalError
from schemas.settings import Settings

_BOUND = 500.0  # deliveries a second
_TURNS = 5
_CONNECTIONS = 64
_TOKEN, _SECRET = "a-token", "a-secret"
_START = 30.0  # seconds
_RECEIVER = ["-m", "weighbridge", "webhook"]
_BARE = ["-m", "bench.events.webhook", "--bare"]


class _Turn(NamedTuple):
    """Deliveries per second, and the 99th percentile of the seconds that each took."""

    rate: float
    p99: float


def _delivery(number: int) -> bytes:
    body = json.dumps(
        {
            "event_type": "LINK_ARTIFACT",
            "event_author": "ada",
            "alias": "",
            "artifact_version": f"wandb-artifact://_id/QXJ0aWZhY3Q6{number}",
            "artifact_version_string": f"org/wandb-registry-R/collection:v{number}",
            "artifact_collection_name": "collection",
            "project_name": "wandb-registry-R",
            "entity_name": "org",
        }
    ).encode()
    signature = hmac.digest(_SECRET.encode(), body, hashlib.sha256)
    head = [
        "POST /webhook HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"Authorization: Bearer {_TOKEN}",
        f"X-Wandb-Signature: {base64.b64encode(signature).decode()}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


class _Sender(asyncio.Protocol):
    """One connection that sends the next delivery as soon as the last one is answered."""

    def __init__(self, deliveries: Iterator[bytes], seconds: list[float]) -> None:
        self._deliveries = deliveries
        self._seconds = seconds
        self._received = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has no such base
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not separator or len(body) < int(length):
            return
        if not head.startswith(b"HTTP/1.1 202"):
            self._fail(self._received.decode())
            return
        self._seconds.append(time.perf_counter() - self._sent)
        self._received = b""
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection was lost: {error}")

    def _send(self) -> None:
        delivery = next(self._deliveries, None)
        if delivery is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(delivery)

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))


async def _turn(port: int, deliveries: list[bytes]) -> _Turn:
    loop, seconds, left = asyncio.get_running_loop(), list[float](), iter(deliveries)
    start = time.perf_counter()
    connections = [
        await loop.create_connection(lambda: _Sender(left, seconds), "127.0.0.1", port)
        for _ in range(_CONNECTIONS)
    ]
    await asyncio.gather(*(sender.done for _, sender in connections))
    took = time.perf_counter() - start
    return _Turn(len(deliveries) / took, statistics.quantiles(seconds, n=100)[98])


@contextmanager
def _server(folder: Path, environment: dict[str, str], arguments: list[str]) -> Iterator[int]:
    """Run one server on a port of its own; yields the port."""
    port = free_port()
    with Processes(folder, {**environment, "WEIGHBRIDGE_WEBHOOK_PORT": str(port)}) as processes:
        name = arguments[-1].strip("-")
        processes.start(name, arguments)
        processes.wait_for(name, lambda: _listens(port), _START)
        yield port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _environment(folder: Path, url: str) -> dict[str, str]:
    return {
        **os.environ,
        "CELERY_BROKER_URL": url,
        "WEIGHBRIDGE_GATES": str(write_gates(folder)),
        "WEIGHBRIDGE_WEBHOOK_TOKEN": _TOKEN,
        "WEIGHBRIDGE_WEBHOOK_SECRET": _SECRET,
    }


def _measure(folder: Path, count: int) -> dict[str, float]:
    """Alternate between the two servers: the median of the turns, and the worst p99."""
    ours, bare = [], []
    with redis_server(folder / "redis") as url, connect(url) as client:
        environment = _environment(folder, url)
        with (
            _server(folder, environment, _RECEIVER) as receiver_port,
            _server(folder, environment, _BARE) as bare_port,
        ):
            for turn in range(_TURNS):
                deliveries = [_delivery(turn * count + number) for number in range(count)]
                ours.append(uvloop.run(_turn(receiver_port, deliveries)))
                bare.append(uvloop.run(_turn(bare_port, deliveries)))
        kept = len(Inbox(client, Settings().lease).waiting())
    if kept != _TURNS * count:
        raise InternalError(f"{_TURNS * count} deliveries were accepted, the inbox has {kept}.")
    pairs = list(zip(ours, bare, strict=True))
    return {
        "webhook_per_s": statistics.median(turn.rate for turn in ours),
        "bare_per_s": statistics.median(turn.rate for turn in bare),
        "webhook_p99_s": max(turn.p99 for turn in ours),
        "bare_p99_s": max(turn.p99 for turn in bare),
        "webhook_of_bare": statistics.median(one.rate / other.rate for one, other in pairs),
    }


def _serve_bare() -> None:
    app = FastAPI()

    @app.post("/webhook", status_code=202)
    async def webhook() -> dict[str, str]:
        return {}

    serve(app, Settings())


@click.command()
@click.option("--deliveries", default=2_000, show_default=True, help="Per turn.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures there.")
@click.option("--bare", is_flag=True, hidden=True)
def main(deliveries: int, path: Path | None, bare: bool) -> None:
    """Print deliveries per second with their bound, their p99, and the same of the bare server."""
    if bare:
        _serve_bare()
        return
    with tempfile.TemporaryDirectory(prefix="wb-bench-") as folder:
        figures = _measure(Path(folder), deliveries)
    for name, value in figures.items():
        print(f"{name:18} {value:10.4g}")
    met = figures["webhook_per_s"] >= _BOUND
    print(f"webhook_per_s at least {_BOUND:g}: {'met' if met else 'MISSED'}")
    if path:
        path.write_text(json.dumps(figures, indent=2) + "\n")
    sys.exit(not met)


if __name__ == "__main__":
    main()
