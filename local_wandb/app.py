"""The web application: GraphQL, file stream, files and Weave's trace API behind one API key."""

import base64
import binascii
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from local_wandb.automations import Automations
from local_wandb.config import LocalWandbConfig, load_or_create_secret
from local_wandb.errors import RequestError
from local_wandb.graphql.context import Context
from local_wandb.graphql.endpoint import GraphqlEndpoint, GraphqlRequest
from local_wandb.graphql.schema import load_schema
from local_wandb.http import files
from local_wandb.http.file_stream import file_stream_routes
from local_wandb.http.signing import SignedUrls, Signer
from local_wandb.http.traces import trace_routes
from local_wandb.store.store import Store

HEALTH = "/healthz"


def create_app(config: LocalWandbConfig) -> FastAPI:
    """Create the application over a data folder.

    Raises:
        MissingResolverError: A field of the GraphQL schema has no resolver.
    """
    endpoint = GraphqlEndpoint(load_schema())
    store = Store(config.data_dir)
    signer = Signer(load_or_create_secret(config.data_dir / "signing-secret", length=32))
    automations = Automations(config.webhook, store)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        automations.close()
        store.database.close()

    app = FastAPI(title="Local W&B", lifespan=lifespan, openapi_url=None)
    app.add_middleware(ApiKeyRequired, key=config.key())
    app.add_exception_handler(RequestError, _refuse)

    @app.get(HEALTH)
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/graphql")
    def graphql(body: GraphqlRequest, request: Request) -> JSONResponse:
        urls = SignedUrls(signer, str(request.base_url).rstrip("/"))
        context = Context(store, config, urls)
        answer = endpoint.answer(body, context)
        for event in context.events:
            automations.fire(event)
        return JSONResponse(answer.body, answer.status)

    app.include_router(file_stream_routes(store))
    app.include_router(files.file_routes(store, signer))
    app.include_router(trace_routes(store.database, config.data_dir / "traces"), prefix="/traces")
    return app


class ApiKeyRequired:
    """Middleware that requires ``Authorization: Basic base64("api:" + key)`` on every request.

    Only signed addresses and the health check need no key.

    Args:
        app: The application behind the middleware.
        key: The API key.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] == "http" and not self._may_pass(Request(scope)):
            answer = _errors(HTTPStatus.UNAUTHORIZED, "the API key is not valid for this server")
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _may_pass(self, request: Request) -> bool:
        path = request.url.path
        if path == HEALTH or path.startswith(f"{files.PREFIX}/"):
            return True
        given = basic_password(request.headers.get("Authorization", ""))
        return secrets.compare_digest(given.encode(), self._key.encode())


def basic_password(header: str) -> str:
    """Return the password of an ``Authorization: Basic`` header, where clients put the API key.

    Args:
        header: The value of the header.

    Returns:
        The password, or an empty text if there is none.
    """
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _refuse(_: Request, error: Exception) -> JSONResponse:
    status = error.status if isinstance(error, RequestError) else HTTPStatus.INTERNAL_SERVER_ERROR
    return _errors(status, str(error))


def _errors(status: HTTPStatus, message: str) -> JSONResponse:
    return JSONResponse({"errors": [{"message": message}], "data": None}, status)
