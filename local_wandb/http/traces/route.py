"""How every route of the trace API reads its request and reports a mistake."""

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

#: What is raised for texts that are no Unicode, numbers beyond 64 bits, values that are nested too
#: deeply and, by FastAPI, bodies that it cannot parse. As 422, so that the client bisects a batch.
_UNSTORABLE = (UnicodeEncodeError, OverflowError, RecursionError, HTTPException)


class TraceRoute(APIRoute):
    """A route that answers mistakes of the caller with `{"reason": ...}`, as W&B does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except DeletedError as error:
                return _mistake(error.status, error.message, deleted_at=error.deleted_at)
            except RequestError as error:
                return _mistake(error.status, error.message)
            except RequestValidationError as error:
                return _mistake(422, _reason(error))
            except _UNSTORABLE as error:
                return _mistake(422, f"the request holds a value that cannot be stored: {error}")

        return answer


def trace_router() -> APIRouter:
    """An empty router whose routes are `TraceRoute`s."""
    return APIRouter(route_class=TraceRoute)


def _mistake(status: int, reason: str, **more: str) -> JSONResponse:
    return JSONResponse({"reason": reason, **more}, status_code=status)


def _reason(error: RequestValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
