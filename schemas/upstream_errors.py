"""Errors of W&B's servers, translated into errors that say who must act."""

import re
from collections.abc import Iterator
from http import HTTPStatus

from schemas.errors import ConfigurationError, PlatformError, WeighbridgeError

# Messages of W&B and its SDKs when trying again is pointless
# (docs/upstream/wandb-protocol.md, "Error messages").
_PERMANENT = re.compile(
    r"not found|permission denied|unable to find|does not exist|failed to load registry"
    r"|already exists with type",
    re.I,
)
_KEY_REFUSED = re.compile(r"api key|unauthorized", re.I)
# The SDK also reports an authentication error when the server does not answer at all.
_NO_ANSWER = re.compile(r"did not respond|timed out|connection", re.I)
# Where an error has no response, each SDK writes the status into the message in its own way.
_STATUS = re.compile(r"\b(?:http|error code:|returned error|status) ([45]\d\d)\b", re.I)

_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}


def translate_error(
    what: str, error: Exception, *, is_key_refused: bool = False
) -> WeighbridgeError:
    """Translate an SDK error raised during a call.

    Args:
        what: The call in words, as in "read version x/y/z:v3"; it begins the message.
        error: What the SDK raised.
        is_key_refused: Whether the SDK's own class for refused keys was raised. It counts only
            when neither a status nor the words say otherwise.

    Returns:
        ``PlatformError`` when trying again may help, else ``ConfigurationError``.
    """
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    status = _status(error, text, is_key_refused=is_key_refused)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRANSIENT:
        return PlatformError(f"W&B did not {what}: {text}.")
    if status == HTTPStatus.UNAUTHORIZED:
        return ConfigurationError(
            f"W&B refused to {what}: {text}.", fix="Check WANDB_API_KEY and WANDB_BASE_URL."
        )
    return ConfigurationError(
        f"W&B could not {what}: {text}.",
        fix="Check the spelling, and that this API key may see it.",
    )


def _status(error: Exception, text: str, *, is_key_refused: bool) -> int:
    """The status that W&B answered with; where the SDK hides it, derived from the message."""
    for one in _causes(error):
        response = getattr(one, "response", None)
        status = getattr(response, "http_status", None) or getattr(response, "status_code", None)
        if status and status != HTTPStatus.OK:  # GraphQL reports a refusal in the message
            return int(status)
    if found := _STATUS.search(text):
        return int(found[1])
    if _NO_ANSWER.search(text):
        return HTTPStatus.SERVICE_UNAVAILABLE
    if is_key_refused or _KEY_REFUSED.search(text):
        return HTTPStatus.UNAUTHORIZED
    return HTTPStatus.NOT_FOUND if _PERMANENT.search(text) else HTTPStatus.SERVICE_UNAVAILABLE


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__
