"""Connections to an engine that overlapping requests share and that outlive no event loop."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx2
import openai
from openai import AsyncOpenAI
from pydantic import SecretStr

# The openai client requires a key.
NO_KEY = "none"
# Seconds. A running engine accepts connections at once; an answer may wait behind a full batch.
TIMEOUT = httpx2.Timeout(600.0, connect=5.0)
# No limit on connections. An idle one is closed before the engine closes it (vLLM after 5 s,
# VLLM_HTTP_TIMEOUT_KEEP_ALIVE), because a request sent at that moment would be lost.
_LIMITS = httpx2.Limits(keepalive_expiry=2.0)


@dataclass
class _Shared:
    client: AsyncOpenAI
    requests: int = 0


class Connections:
    """Keeps connections open as long as requests overlap.

    An open connection belongs to the event loop that made it and must be closed before that loop
    ends. Nothing announces that end, so the last pending request closes all connections. The
    requests of an evaluation overlap. Sharing saves each of them two round trips and a third of
    this process's CPU time (TLS, 32 concurrent requests, openai 3.52: 1.9 instead of 3.1 ms).

    Args:
        connect: Makes a client.
    """

    def __init__(self, connect: Callable[[], AsyncOpenAI]) -> None:
        self._connect = connect
        self._shared: dict[asyncio.AbstractEventLoop, _Shared] = {}

    @classmethod
    def to_socket(cls, socket: Path) -> Self:
        """Connections to an engine's Unix socket, without a key and without retries."""
        return cls(partial(_connect_to_socket, socket))

    @classmethod
    def to_url(cls, base_url: str, key: SecretStr | None, retries: int) -> Self:
        """Connections to an engine's URL.

        Args:
            base_url: Base URL, such as ``https://host/v1``.
            key: The engine's key; None if it needs none.
            retries: How often a request is retried; see ``_LimitedRetryClient``.
        """
        # Made once, because reading the certificate authorities takes 19 ms.
        tls = httpx2.create_ssl_context()
        return cls(partial(_connect_to_url, base_url, key, retries, tls))

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncOpenAI]:
        """A client for one request in the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._shared:
            self._shared[loop] = _Shared(self._connect())
        shared = self._shared[loop]
        shared.requests += 1
        try:
            yield shared.client
        finally:
            shared.requests -= 1
            if not shared.requests:
                del self._shared[loop]
                await shared.client.close()


class _LimitedRetryClient(httpx2.AsyncClient):
    """Keeps the openai client from retrying a request that the engine may still be processing.

    openai 3.52 retries after connection errors, timeouts, 408, 409, 429 and 5xx. With this client
    it does not retry after a timeout, and of the 4xx only after 429.
    """

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        try:
            response = await super().send(request, **options)
        except (httpx2.ReadTimeout, httpx2.WriteTimeout) as error:
            raise openai.APITimeoutError(request=request) from error
        if response.is_client_error and response.status_code != httpx2.codes.TOO_MANY_REQUESTS:
            response.headers["x-should-retry"] = "false"
        return response


def _connect_to_socket(socket: Path) -> AsyncOpenAI:
    no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # otherwise httpx2 reads the authorities
    transport = httpx2.AsyncHTTPTransport(uds=str(socket), limits=_LIMITS, verify=no_tls)
    return AsyncOpenAI(
        base_url="http://engine/v1",
        api_key=NO_KEY,  # only this user can enter the socket's folder
        http_client=httpx2.AsyncClient(transport=transport, timeout=TIMEOUT),
        timeout=TIMEOUT,
        max_retries=0,  # a dead engine stays dead; a slow one must not work twice
    )


def _connect_to_url(
    base_url: str, key: SecretStr | None, retries: int, tls: ssl.SSLContext
) -> AsyncOpenAI:
    return AsyncOpenAI(
        base_url=base_url,
        api_key=key.get_secret_value() if key else NO_KEY,
        http_client=_LimitedRetryClient(verify=tls, limits=_LIMITS, timeout=TIMEOUT),
        timeout=TIMEOUT,
        max_retries=retries,
    )
