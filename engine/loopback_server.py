"""Runs an ASGI application on a loopback port, in a thread of this process."""

import asyncio
import socket
import threading
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp


class LoopbackServer:
    """A server on 127.0.0.1 and a free port, which runs until its block ends.

    The end does not wait for requests that are being answered: they are cancelled.

    Args:
        app: The application, with its lifespan.

    Attributes:
        port: The port; known in the block.
    """

    port: int

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="on",
            ws="none",
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self._runner = asyncio.Runner(loop_factory=config.get_loop_factory())
        self._stop = asyncio.Event()
        self._server = _Server(config, self._stop)

    def __enter__(self) -> Self:
        # Connections that come before the server runs wait in the socket's queue.
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._run, name="loopback-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with self._listener, self._runner as runner:
            runner.run(self._server.serve(sockets=[self._listener]))


class _Server(uvicorn.Server):
    """Stops as soon as the event is set; uvicorn 0.54 polls, and waits 0.1 s for connections."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop

    async def main_loop(self) -> None:
        await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if tasks:
            await asyncio.wait(tasks)
        await self.lifespan.shutdown()
