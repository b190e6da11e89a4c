"""Reads the requests of the trace API and reports the caller's errors."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from local_wandb.errors import RequestError
from local_wandb.store.traces.errors import DeletedError

_T = TypeVar("_T")

#: A parameter that is one key of the JSON body; other keys are ignored.
Key = Annotated[_T, Body(embed=True)]

#: Raised for invalid Unicode, numbers beyond 64 bits, values nested too deeply and, by FastAPI,
#: bodies that it cannot parse. The status is 422, so that the client bisects its batch.
_UNSTORABLE = (UnicodeEncodeError, OverflowError, RecursionError, HTTPException)


class TraceRoute(APIRoute):
    """A route that answers the caller's errors with ``{"reason": ...}``, as W&B does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except DeletedError as error:
                return _error_response(error.status, error.message, deleted_at=error.deleted_at)
            except RequestError as error:
                return _error_response(error.status, error.message)
            except RequestValidationError as error:
                return _error_response(422, _reason(error))
            except _UNSTORABLE as error:
                return _error_response(
                    422, f"the request holds a value that cannot be stored: {error}"
                )

        return answer


def trace_router() -> APIRouter:
    """Return an empty router whose routes are ``TraceRoute`` objects."""
    return APIRouter(route_class=TraceRoute)


def _error_response(status: int, reason: str, **more: str) -> JSONResponse:
    return JSONResponse({"reason": reason, **more}, status_code=status)


def _reason(error: RequestValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
