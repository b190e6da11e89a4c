"""Errors of the caller, each with an HTTP status that stops the SDK from retrying."""

from http import HTTPStatus


class RequestError(Exception):
    """A request that the server cannot answer.

    The SDK retries every 5xx for minutes (docs/upstream/wandb-protocol.md, "Timeouts and retries"),
    so an error of the caller always has a 4xx status.

    Args:
        message: One sentence that the SDK shows to its user unchanged.
    """

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class NotFoundError(RequestError):
    """An object that the request names does not exist."""

    status = HTTPStatus.NOT_FOUND


class ConflictError(RequestError):
    """The request conflicts with an existing object."""

    status = HTTPStatus.CONFLICT


class ForbiddenError(RequestError):
    """The caller has no permission for the request."""

    status = HTTPStatus.FORBIDDEN
