"""Mistakes of a caller that only the trace API tells apart."""

from http import HTTPStatus

from local_wandb.errors import NotFoundError, RequestError


class DeletedError(NotFoundError):
    """The object version was deleted.

    Args:
        message: one sentence that names the version.
        deleted_at: when, ISO 8601; its presence in the answer ends the client's retries
            (docs/upstream/weave-protocol.md, "Errors of the trace API").
    """

    def __init__(self, message: str, deleted_at: str) -> None:
        super().__init__(message)
        self.deleted_at = deleted_at


class InvalidValueError(RequestError):
    """A value that cannot be stored; the client bisects its batch to drop only that one."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
