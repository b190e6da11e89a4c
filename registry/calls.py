"""Calls to W&B: each error names the failed call, and its class says who must act."""

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

# What the SDK raises in addition to its own errors: its helper process has died or hangs, or could
# not query the server's features ("not enabled on this wandb server version": a RuntimeError).
_HELPER = (
    WandbApiFailedError,
    WandbServiceConnectionError,
    AlreadyJoinedError,
    MailboxClosedError,
    HandleAbandonedError,
    RuntimeError,
    OSError,  # includes requests' errors
)


@contextmanager
def wandb_call(what: str) -> Iterator[None]:
    """Translate an SDK error raised during ``what``.

    Args:
        what: The call in words, as in "read version x/y/z:v3"; used in the message.

    Raises:
        ConfigurationError: The API key is refused, or the object does not exist or is not
            accessible.
        PlatformError: W&B did not answer in time.
    """
    try:
        yield
    except WeighbridgeError:
        raise
    except (Error, ValueError, *_HELPER) as error:
        is_key_refused = isinstance(error, AuthenticationError | UsageError)
        raise translate_error(what, error, is_key_refused=is_key_refused) from error


def wandb_api(timeout: float) -> wandb.Api:
    """Make a client for W&B's public API.

    Args:
        timeout: Timeout of each call in seconds, including the SDK's own retries
            (docs/upstream/wandb-protocol.md, "Timeouts and retries").

    Raises:
        ConfigurationError: There is no API key, or it is refused.
        PlatformError: W&B did not answer.
    """
    with wandb_call("log in"):
        try:
            return wandb.Api(timeout=max(1, round(timeout)))
        finally:
            _end_first_at_exit()


def _end_first_at_exit() -> None:
    """End the helper process at exit before the SDK's own hook, which has no timeout."""
    atexit.unregister(end_helper_process)
    atexit.register(end_helper_process)
