"""The gateway's endpoints as an ASGI application."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.gateway_errors import Refusal, refusal
from engine.gateway_forwarding import Reply, forward
from engine.gateway_targets import CHAT, Target

_FORWARDED = (CHAT, "/completions", "/embeddings", "/responses")
# Bytes. The worker holds a request in memory; OpenAI takes images of 50 MB in total.
_MAX_BODY = 64 * 1024 * 1024


def gateway_app(targets: Mapping[str, Target], token: str) -> ASGIApp:
    """Make the application.

    Args:
        targets: The models by name.
        token: The token that every request must have.
    """
    kept = _KeptConnections()

    @asynccontextmanager
    async def close_connections(_app: Starlette) -> AsyncIterator[None]:
        async with kept.stack:
            yield

    async def list_models(_request: Request) -> Response:
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "weighbridge"}
            for name in targets
        ]
        return JSONResponse({"object": "list", "data": models})

    async def refuse_path(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        return refusal(
            status,
            f"There is no {request.method} {request.url.path}: the gateway has GET /v1/models and"
            f" POST {', '.join(f'/v1{path}' for path in _FORWARDED)}.",
            code="unknown_endpoint",
        ).response()

    routes = [Route("/v1/models", list_models, methods=["GET"])]
    routes += [
        Route(f"/v1{path}", _Forwarder(path, targets, kept), methods=["POST"])
        for path in _FORWARDED
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: refuse_path},
        lifespan=close_connections,
    )
    return _Authenticated(app, token)


class _KeptConnections:
    """Keeps each target's connections from its first request to the end.

    Without it, a request that overlaps no other one would close them. The version is served only
    after the gateway has started.

    Attributes:
        stack: Closes them.
    """

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self._targets: set[Target] = set()

    async def keep(self, target: Target) -> None:
        """Keep a target's connections from now on."""
        if target not in self._targets:
            self._targets.add(target)
            await self.stack.enter_async_context(target.upstream.connections.client())


class _Authenticated:
    """Answers 401 to requests without the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] == "lifespan" or hmac.compare_digest(sent, self._expected):
            await self._app(scope, receive, send)
            return
        refused = refusal(
            401,
            "The API key is missing or is not this gateway's. Use OPENAI_API_KEY as the worker set"
            " it: it changes with every weighing.",
            code="invalid_api_key",
        )
        await refused.response()(scope, receive, send)


class _Forwarder:
    """Forwards the requests to one endpoint.

    Args:
        path: The endpoint, such as ``/chat/completions``.
        targets: The models by name.
        kept: Keeps their connections.
    """

    def __init__(self, path: str, targets: Mapping[str, Target], kept: _KeptConnections) -> None:
        self._path = path
        self._targets = targets
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = Reply(scope, receive, send)
        try:
            fields = _fields(await _content(Request(scope, receive)))
            target = self._target(fields.get("model"))
        except ClientDisconnect:
            return
        except Refusal as refused:
            await reply.refuse(refused)
            return
        await self._kept.keep(target)
        await _while_connected(receive, forward(target, self._path, fields, reply))

    def _target(self, name: object) -> Target:
        if not isinstance(name, str):
            raise refusal(400, "The request names no model.", code="invalid_value", param="model")
        if name not in self._targets:
            raise refusal(
                404,
                f"There is no model '{name}' here: there is"
                f" {', '.join(repr(known) for known in self._targets)}. To use another model, add"
                " it to application.models of the gate.",
                code="model_not_found",
                param="model",
            )
        return self._targets[name]


async def _content(request: Request) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > _MAX_BODY:
            raise refusal(413, f"The body is larger than {_MAX_BODY} bytes.", code="too_large")
    return bytes(content)


def _fields(content: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise refusal(400, "The body is not a JSON object.", code="invalid_json")
    return fields


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or cancel it when the client disconnects."""
    task = asyncio.create_task(work)
    watch = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in (task, watch):
            one.cancel()  # which does nothing to one that is done
        await asyncio.wait({task, watch})
    if not task.cancelled():
        task.result()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
