"""What a client did wrong, with the HTTP status that stops it from trying again."""

from http import HTTPStatus


class RequestError(Exception):
    """A request that cannot be answered as it is.

    The SDK repeats every 5xx for minutes (docs/upstream/wandb-protocol.md, "Timeouts and retries"),
    so a mistake of the caller always carries a 4xx.

    Args:
        message: one sentence that the SDK shows to its user as it is.
    """

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class NotFoundError(RequestError):
    """Something that the request names does not exist."""

    status = HTTPStatus.NOT_FOUND


class ConflictError(RequestError):
    """What exists already does not allow the request."""

    status = HTTPStatus.CONFLICT


class ForbiddenError(RequestError):
    """The request carries no permission for what it asks."""

    status = HTTPStatus.FORBIDDEN
