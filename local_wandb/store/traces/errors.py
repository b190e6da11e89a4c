"""The caller's errors that only the trace API distinguishes."""

from http import HTTPStatus

from local_wandb.errors import NotFoundError, RequestError


class DeletedError(NotFoundError):
    """The version of an object was deleted.

    Args:
        message: One sentence that names the version.
        deleted_at: The time of the deletion, ISO 8601; its presence in the answer ends the client's
            retries (docs/upstream/weave-protocol.md, "Errors of the trace API").
    """

    def __init__(self, message: str, deleted_at: str) -> None:
        super().__init__(message)
        self.deleted_at = deleted_at


class InvalidValueError(RequestError):
    """A value cannot be stored; the client bisects its batch to drop only that value."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
