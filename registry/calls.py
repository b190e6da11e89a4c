"""Calls to W&B: each error says which call broke, and who must act."""

import atexit
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import wandb
from wandb.errors import AuthenticationError, Error, UsageError
from wandb.sdk.lib.asyncio_manager import AlreadyJoinedError
from wandb.sdk.lib.service.service_connection import WandbApiFailedError
from wandb.sdk.lib.service.service_token import WandbServiceConnectionError
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

from registry.helper_process import end_helper_process
from schemas.errors import ConfigurationError, PlatformError, WeighbridgeError

# What W&B and its SDKs say when trying again is pointless
# (docs/upstream/wandb-protocol.md, "Error messages").
_PERMANENT = re.compile(
    r"not found|permission denied|unable to find|does not exist|failed to load registry"
    r"|already exists with type",
    re.I,
)
_KEY_REFUSED = re.compile(r"api key|unauthorized", re.I)
# The SDK calls it an authentication error, too, when the server does not answer at all.
_NO_ANSWER = re.compile(r"did not respond|timed out|connection", re.I)
# Where an error has no response, the SDKs say the status in words, each its own.
_STATUS = re.compile(r"\b(?:http|error code:|returned error|status) ([45]\d\d)\b", re.I)

_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}

# What the SDK raises beside its own errors: its helper process is gone, or hears nothing, or could
# not ask what this W&B can do ("not enabled on this wandb server version": a RuntimeError).
_HELPER = (
    WandbApiFailedError,
    WandbServiceConnectionError,
    AlreadyJoinedError,
    MailboxClosedError,
    HandleAbandonedError,
    RuntimeError,
    OSError,  # requests' errors are OSErrors, too
)


@contextmanager
def wandb_call(what: str) -> Iterator[None]:
    """Translate what a W&B call raises into an error that says who must act.

    Args:
        what: the call in words, as in "read version x/y/z:v3"; it begins the message.

    Raises:
        ConfigurationError: the key is bad, or the thing does not exist or is not ours.
        PlatformError: W&B did not answer, or not in time.
    """
    try:
        yield
    except WeighbridgeError:
        raise
    except (Error, ValueError, *_HELPER) as error:
        raise told(what, error) from error


def told(what: str, error: Exception) -> WeighbridgeError:
    """What an SDK's error means for whoever asked for `what`."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    status = _status(error, text)
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


def _status(error: Exception, text: str) -> int:
    """What W&B answered; where the SDK hides that, the status that its words amount to."""
    for one in _causes(error):
        response = getattr(one, "response", None)
        status = getattr(response, "http_status", None) or getattr(response, "status_code", None)
        if status and status != HTTPStatus.OK:  # GraphQL says in words what it refuses
            return int(status)
    if found := _STATUS.search(text):
        return int(found[1])
    if _NO_ANSWER.search(text):
        return HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, AuthenticationError | UsageError) or _KEY_REFUSED.search(text):
        return HTTPStatus.UNAUTHORIZED
    return HTTPStatus.NOT_FOUND if _PERMANENT.search(text) else HTTPStatus.SERVICE_UNAVAILABLE


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__


def wandb_api(timeout: float) -> wandb.Api:
    """The public API, with a bound on each call.

    Args:
        timeout: seconds after which a call is given up; the SDK's own retries run within it
            (docs/upstream/wandb-protocol.md, "Timeouts and retries").

    Raises:
        ConfigurationError: there is no API key, or it is refused.
        PlatformError: W&B did not answer.
    """
    with wandb_call("log in"):
        try:
            return wandb.Api(timeout=max(1, round(timeout)))
        finally:
            _end_first_at_exit()


def _end_first_at_exit() -> None:
    """End the helper process before the SDK's own hook does, which knows no bound."""
    atexit.unregister(end_helper_process)
    atexit.register(end_helper_process)
