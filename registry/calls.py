"""Calls to W&B: each error says which call broke, and who must act."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager

import wandb
from wandb.errors import AuthenticationError, Error, UsageError
from wandb.sdk.lib.asyncio_manager import AlreadyJoinedError
from wandb.sdk.lib.service.service_connection import WandbApiFailedError
from wandb.sdk.lib.service.service_token import WandbServiceConnectionError
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

from registry.helper_process import end_helper_process
from schemas.errors import WeighbridgeError
from schemas.upstream_errors import translate_error

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
        is_key_refused = isinstance(error, AuthenticationError | UsageError)
        raise translate_error(what, error, is_key_refused=is_key_refused) from error


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
