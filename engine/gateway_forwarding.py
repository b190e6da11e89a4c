"""Sends one request of the application to its target, and the answer back."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine.gateway_errors import Refusal
from engine.gateway_stream import EventStream, renamed
from engine.gateway_targets import CHAT, Target
from engine.gateway_usage import Measurement, Tokens
from schemas.errors import ConfigurationError

# Those whose streams report usage only on request.
_USAGE_ON_REQUEST = (CHAT, "/completions")
_EVENTS = "text/event-stream"


class Reply:
    """The answer to one request, as an ASGI application sends it.

    Args:
        scope: The request.
        receive: Not used by an answer, but part of ASGI's signature.
        send: Sends the answer.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._asgi = (scope, receive, send)
        self._send = send
        self._streams = False

    async def whole(self, response: Response) -> None:
        """Send a whole answer."""
        await response(*self._asgi)

    async def part(self, content: bytes) -> None:
        """Send a part of a streamed answer."""
        if not self._streams:
            headers = [(b"content-type", _EVENTS.encode()), (b"cache-control", b"no-cache")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            self._streams = True
        await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def end(self) -> None:
        """End a streamed answer."""
        await self.part(b"")
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def refuse(self, refused: Refusal) -> None:
        """Send an error: as the answer, or as the last event of one that has begun."""
        if not self._streams:
            await self.whole(refused.response())
            return
        await self.part(b"data: " + refused.content + b"\n\n")
        await self.end()


async def forward(target: Target, path: str, fields: dict[str, Any], reply: Reply) -> None:
    """Forward a request, count it, and send its answer.

    Args:
        target: The model.
        path: The endpoint, such as ``/chat/completions``.
        fields: The request's body.
        reply: Receives the answer.
    """
    try:
        with target.counter.measured() as measurement:
            async with target.slot():
                target.require_working()
                send = _stream if fields.get("stream") else _whole
                await send(target, path, fields, reply, measurement)
    except Refusal as refused:
        await reply.refuse(refused)


async def _whole(
    target: Target, path: str, fields: dict[str, Any], reply: Reply, measurement: Measurement
) -> None:
    async with target.upstream.connections.client() as client:
        try:
            response = await client.post(
                path, content=_body(target, path, fields), cast_to=httpx2.Response
            )
        except openai.APIError as error:
            raise target.refuse(error, path) from None
    content, tokens = _answer(target, response.content)
    measurement.complete(tokens)
    await reply.whole(Response(content, media_type="application/json"))


async def _stream(
    target: Target, path: str, fields: dict[str, Any], reply: Reply, measurement: Measurement
) -> None:
    options = fields.get("stream_options") or {}
    # Anything else than an object is the upstream's to refuse.
    wants_usage = not isinstance(options, dict) or bool(options.get("include_usage"))
    if path in _USAGE_ON_REQUEST and not wants_usage:
        fields = fields | {"stream_options": options | {"include_usage": True}}
    async with target.upstream.connections.client() as client:
        try:
            stream = await client.post(
                path,
                content=_body(target, path, fields),
                cast_to=object,
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
        except openai.APIError as error:
            raise target.refuse(error, path) from None
        async with stream:
            await _pass_events(target, path, stream.response, reply, measurement, wants_usage)


async def _pass_events(
    target: Target,
    path: str,
    response: httpx2.Response,
    reply: Reply,
    measurement: Measurement,
    wants_usage: bool,
) -> None:
    events = EventStream(
        target.name,
        hides_usage=not wants_usage,
        without_key=target.upstream.endpoint.without_key,
    )
    try:
        async for received in _with_last_line_ended(response):
            passed = events.feed(received)
            if events.is_complete:
                measurement.complete(events.tokens)
            if passed:
                await reply.part(passed)
            if events.error is not None:
                raise target.refuse_stream(events.error)
    except httpx2.HTTPError as error:
        if not events.is_complete:
            cut = openai.APIConnectionError(request=response.request)
            cut.__cause__ = error
            raise target.refuse(cut, path) from None
    if not events.is_complete:
        raise target.fail(target.upstream.endpoint.failure(f"cut off an answer of {target.name}"))
    await reply.end()


async def _with_last_line_ended(response: httpx2.Response) -> AsyncIterator[bytes]:
    async for received in response.aiter_bytes():
        yield received
    yield b"\n"


def _body(target: Target, path: str, fields: dict[str, Any]) -> bytes:
    body = fields | {"model": target.upstream.model}
    if path == CHAT:
        added = target.upstream.chat_fields.items()
        body |= {field: value for field, value in added if fields.get(field) is None}
    return json.dumps(body).encode()


def _answer(target: Target, content: bytes) -> tuple[bytes, Tokens | None]:
    """The answer for the application, and its tokens."""
    endpoint = target.upstream.endpoint
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise target.fail(
            ConfigurationError(
                f"{endpoint.name} does not answer in the OpenAI protocol.",
                fix="Check its base URL, which usually ends in /v1.",
            )
        )
    text = json.dumps(renamed(answer, target.name), separators=(",", ":"))
    return endpoint.without_key(text).encode(), Tokens.of(answer)
