"""The webhook receiver: W&B automations post here when a version is linked.

A webhook is a hint that arrives fast; W&B retries nothing, so the poller finds what was missed
(facts/wandb-webhooks.md). The receiver never calls W&B: it checks, publishes and answers.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Annotated, Any

from celery import Celery
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, SecretStr, ValidationError

from bus.publish import publish
from schemas.errors import ConfigurationError, PlatformError
from schemas.events import ModelVersionEvent
from schemas.refs import ArtifactRef
from schemas.settings import Settings

_MAX_BODY = 64 * 1024  # bytes; the documented payloads are under 2 KiB
_RETRY_AFTER = 5  # seconds
_LINKED = "LINK_ARTIFACT"
_ID_SCHEME = "wandb-artifact://_id/"


class Payload(BaseModel):
    """The body that W&B's own examples use (facts/wandb-webhooks.md).

    Attributes:
        artifact_version: `wandb-artifact://_id/<id>`.
        artifact_version_string: `entity/project/collection:version`.
    """

    event_type: str
    artifact_version_string: str = Field(min_length=1)
    artifact_version: str = ""
    event_author: str | None = None

    def event(self) -> ModelVersionEvent:
        """The event that this payload tells of.

        Raises:
            ConfigurationError: the version string is not an artifact reference.
        """
        return ModelVersionEvent(
            ref=ArtifactRef.parse(self.artifact_version_string),
            artifact_id=self.artifact_version.removeprefix(_ID_SCHEME) or None,
            source="webhook",
            author=self.event_author,
        )


class Credentials(BaseModel):
    """What a sender must know: the bearer token, and the secret that signs the body."""

    token: SecretStr = Field(min_length=1)
    secret: SecretStr = Field(min_length=1)

    @classmethod
    def of(cls, settings: Settings) -> "Credentials":
        """Take them from the settings.

        Raises:
            ConfigurationError: one of them is not set; an open receiver is refused.
        """
        if not (settings.webhook_token and settings.webhook_secret):
            raise ConfigurationError(
                "The webhook receiver has no token or no secret.",
                fix="Set WEIGHBRIDGE_WEBHOOK_TOKEN and WEIGHBRIDGE_WEBHOOK_SECRET to what the"
                " W&B automation sends.",
            )
        return cls(token=settings.webhook_token, secret=settings.webhook_secret)

    def allow(self, authorization: str) -> bool:
        """Whether the `Authorization` header holds the token; compared in constant time."""
        expected = f"Bearer {self.token.get_secret_value()}"
        return hmac.compare_digest(authorization.encode(), expected.encode())

    def signed(self, body: bytes, signature: str) -> bool:
        """Whether `X-Wandb-Signature` is the HMAC-SHA256 of the body.

        Base64 is documented; receivers in the wild use hexadecimal, so both are taken.
        """
        secret = self.secret.get_secret_value().encode()
        digest = hmac.new(secret, body, hashlib.sha256).digest()
        return any(hmac.compare_digest(given, digest) for given in _decodings(signature))


def _decodings(signature: str) -> list[bytes]:
    found = []
    for decode in (lambda text: base64.b64decode(text, validate=True), bytes.fromhex):
        try:
            found.append(decode(signature.strip()))
        except (binascii.Error, ValueError):
            continue
    return found


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise HTTPException(413, f"the body is larger than {_MAX_BODY} bytes")
    return bytes(body)


def webhook_app(celery: Celery, credentials: Credentials) -> FastAPI:
    """The receiver as an ASGI application.

    Args:
        celery: where events are published.
        credentials: what a sender must know.
    """
    app = FastAPI(title="Weighbridge webhook", docs_url=None, redoc_url=None)

    async def checked(request: Request, body: Annotated[bytes, Depends(_body)]) -> bytes:
        if not credentials.allow(request.headers.get("authorization", "")):
            raise HTTPException(401, "the bearer token is missing or wrong")
        if not credentials.signed(body, request.headers.get("x-wandb-signature", "")):
            raise HTTPException(403, "X-Wandb-Signature is missing or does not match the body")
        return body

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/webhook")
    async def webhook(body: Annotated[bytes, Depends(checked)]) -> JSONResponse:
        payload, event = _parse(body)
        if payload.event_type != _LINKED:
            return JSONResponse({"ignored": f"event type {payload.event_type}"}, 200)
        try:
            task = await run_in_threadpool(publish, celery, event)
        except PlatformError as error:
            raise HTTPException(503, str(error), {"Retry-After": str(_RETRY_AFTER)}) from error
        return JSONResponse({"event": task, "version": str(event.ref)}, 202)

    return app


def _parse(body: bytes) -> tuple[Payload, ModelVersionEvent]:
    try:
        payload = Payload.model_validate_json(body)
        return payload, payload.event()
    except ValidationError as error:
        faults = error.errors(include_url=False)
        if faults[0]["type"] == "json_invalid":
            raise HTTPException(400, f"the body is not JSON: {faults[0]['msg']}") from error
        raise HTTPException(422, [_fault(dict(fault)) for fault in faults]) from error
    except ConfigurationError as error:
        raise HTTPException(422, str(error)) from error


def _fault(fault: dict[str, Any]) -> str:
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
