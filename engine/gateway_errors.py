"""The gateway's errors in OpenAI's format, so that every client raises its usual exceptions."""

import json
from typing import Any

from starlette.responses import Response

# The gateway has retried what is worth it; openai's clients do as this header says (openai 3.52).
_NO_RETRY = {"x-should-retry": "false"}


class Refusal(Exception):  # noqa: N818 (it is an answer to the application, not a failure of ours)
    """A request gets an error as its answer.

    Args:
        status: The HTTP status.
        error: OpenAI's error object: ``message``, ``type``, ``param`` and ``code``.

    Attributes:
        content: The answer's body.
    """

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message")))
        self.status = status
        self.content = json.dumps({"error": error}).encode()

    def response(self) -> Response:
        """The answer."""
        return Response(self.content, self.status, _NO_RETRY, "application/json")


def refusal(
    status: int,
    message: str,
    *,
    code: str,
    param: str | None = None,
    kind: str = "invalid_request_error",
) -> Refusal:
    """Make a refusal with a message of the gateway's own.

    Args:
        status: The HTTP status.
        message: What is wrong, and the fix.
        code: OpenAI's code where it has one, such as ``model_not_found``.
        param: The field of the request that is wrong.
        kind: OpenAI's ``type``.
    """
    return Refusal(status, {"message": message, "type": kind, "param": param, "code": code})
