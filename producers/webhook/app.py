"""The receiver as an ASGI application: its routes, and the checks of a delivery."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from bus.bus import Bus
from producers.webhook.acceptor import Acceptor
from producers.webhook.credentials import Credentials
from producers.webhook.metrics import Metrics
from producers.webhook.payload import Payload
from producers.webhook.readiness import check_ready
from schemas.errors import ConfigurationError, PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, GateFile
from schemas.settings import Settings

_MAX_BODY = 64 * 1024  # bytes; the documented payloads are under 2 KiB
_RETRY_AFTER = {"Retry-After": "5"}  # seconds
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class Accepted(BaseModel):
    """The event is on the bus.

    Attributes:
        events: Ids of the events.
        weighings: Ids of the weighings that they open; empty if an alias must be resolved first.
    """

    events: list[str]
    weighings: list[str]


class Ignored(BaseModel):
    """Nothing was put on the bus, and nothing needs to be; says why."""

    ignored: str


class Refusal(BaseModel):
    """Nothing was put on the bus; says what is wrong, with one line per error."""

    detail: str | list[str]


class Status(BaseModel):
    """The receiver's status."""

    status: str


_REFUSALS = {
    400: "The body is not JSON.",
    401: "The bearer token is missing or wrong.",
    403: "The signature is missing or does not match the body.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "The body names no version.",
    503: "Redis is unavailable; send it again.",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": Ignored, "description": "A duplicate, or nothing to weigh."},
    202: {"model": Accepted, "description": "The event is on the bus."},
    **{code: {"model": Refusal, "description": why} for code, why in _REFUSALS.items()},
}
# The signature covers the body's bytes, so FastAPI must not parse it.
_OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": Payload.model_json_schema()}},
    },
    "parameters": [
        {"name": name, "in": "header", "schema": {"type": "string"}}
        for name in ("Authorization", "X-Wandb-Signature")
    ],
}


class _Result(NamedTuple):
    """The response to a delivery that was not refused, and its label in the metrics."""

    label: str
    response: Response


class _Receiver:
    """Checks deliveries, the cheapest check first, and puts their events on the bus."""

    def __init__(self, credentials: Credentials, gates: GateFile, acceptor: Acceptor) -> None:
        self._credentials = credentials
        self._gates = gates
        self._acceptor = acceptor

    async def receive(self, request: Request) -> _Result:
        body = await _body(request)
        self._check_headers(request, body)
        payload, event = _read(body)
        if event is None:
            return _ignored("ignored", f"event type {payload.event_type}")
        gates = self._gates.matching(event)
        if not gates:
            return _ignored("ignored", f"no gate takes {event.ref}")
        if not await self._acceptor.accept(event, gates):
            return _ignored("duplicate", f"event {event.id} is known already")
        content = {"events": [event.id], "weighings": _weighings(event, gates)}
        return _Result("accepted", JSONResponse(content, 202))

    def _check_headers(self, request: Request, body: bytes) -> None:
        headers = dict(request.headers.raw)
        media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media_type != b"application/json":
            raise HTTPException(415, "the content type is not application/json")
        if not self._credentials.has_token(headers.get(b"authorization", b"")):
            raise HTTPException(401, "the bearer token is missing or wrong", _CHALLENGE)
        if not self._credentials.has_signature(body, headers.get(b"x-wandb-signature", b"")):
            raise HTTPException(403, "X-Wandb-Signature is missing or does not match the body")


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY:
                raise HTTPException(413, f"the body is larger than {_MAX_BODY} bytes")
    except ClientDisconnect as error:
        raise HTTPException(400, "the body was cut off") from error
    return bytes(body)


def _read(body: bytes) -> tuple[Payload, ModelVersionEvent | None]:
    try:
        payload = Payload.model_validate_json(body)
        return payload, payload.event() if payload.is_relevant else None
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        if errors[0]["type"] == "json_invalid":
            raise HTTPException(400, f"the body is not JSON: {errors[0]['msg']}") from error
        raise HTTPException(422, [_describe(dict(one)) for one in errors]) from error
    except ConfigurationError as error:
        raise HTTPException(422, str(error)) from error


def _describe(error: dict[str, Any]) -> str:
    return f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"


def _weighings(event: ModelVersionEvent, gates: list[Gate]) -> list[str]:
    if event.ref.number is None:
        return []
    return [str(WeighingId.of(gate.name, event.ref)) for gate in gates]


def _ignored(label: str, why: str) -> _Result:
    return _Result(label, JSONResponse({"ignored": why}))


def webhook_app(settings: Settings) -> FastAPI:
    """Make the receiver as an ASGI application.

    Raises:
        ConfigurationError: A secret is missing, or the gate file has an error.
    """
    bus = Bus.open(settings)
    acceptor = Acceptor(bus)
    metrics = Metrics(bus)
    receiver = _Receiver(Credentials.of(settings), settings.gates, acceptor)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with bus:
            yield
            await acceptor.finish()

    app = FastAPI(title="Weighbridge webhook", docs_url=None, redoc_url=None, lifespan=lifespan)

    @app.post("/webhook", responses=_RESPONSES, openapi_extra=_OPENAPI, status_code=202)
    async def webhook(request: Request) -> Response:
        start = time.perf_counter()
        label = "500"
        try:
            label, response = await receiver.receive(request)
        except HTTPException as refusal:
            label = str(refusal.status_code)
            raise
        except PlatformError as error:
            label = "503"
            raise HTTPException(503, str(error), _RETRY_AFTER) from error
        finally:
            metrics.record(label, time.perf_counter() - start)
        return response

    @app.get("/healthz")
    async def healthz() -> Status:
        return Status(status="ok")

    @app.get("/readyz", responses={503: {"model": Refusal, "description": "Not ready; says why."}})
    async def readyz() -> Status:
        try:
            await asyncio.to_thread(check_ready, bus.inbox, 2 * settings.lease)
        except PlatformError as error:
            raise HTTPException(503, str(error), _RETRY_AFTER) from error
        return Status(status="ready")

    @app.get("/metrics", response_class=Response)
    async def read_metrics() -> Response:
        text = await asyncio.to_thread(metrics.text)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return app
