"""Calls to W&B: each bounded in time, and each error under the name of the call that it broke."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import wandb
from wandb.errors import AuthenticationError, Error, UsageError

from schemas.errors import ConfigurationError, PlatformError

# What W&B and its SDK say when trying again is pointless (facts/wandb-protocol.md 7).
_PERMANENT = re.compile(
    r"not found|permission denied|unable to find|does not exist|failed to load registry|http 40[034]",
    re.I,
)

# The SDK calls it an authentication error, too, when the server does not answer at all.
_NO_ANSWER = re.compile(r"did not respond|timed out|connection", re.I)


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
    except (AuthenticationError, UsageError) as error:
        if _NO_ANSWER.search(str(error)):
            raise PlatformError(f"W&B did not {what}: {_oneline(error)}.") from error
        raise ConfigurationError(
            f"W&B refused to {what}: {_oneline(error)}.",
            fix="Check WANDB_API_KEY and WANDB_BASE_URL.",
        ) from error
    except (Error, ValueError, requests.RequestException) as error:
        if _PERMANENT.search(str(error)):
            raise ConfigurationError(
                f"W&B could not {what}: {_oneline(error)}.",
                fix="Check the spelling, and that this API key may see it.",
            ) from error
        raise PlatformError(f"W&B did not {what}: {_oneline(error)}.") from error


def wandb_api(timeout: float) -> wandb.Api:
    """The public API, with a bound on each call.

    Args:
        timeout: seconds after which a call is given up; the SDK's own retries run within it
            (facts/wandb-protocol.md 8).

    Raises:
        ConfigurationError: there is no API key, or it is refused.
        PlatformError: W&B did not answer.
    """
    with wandb_call("log in"):
        return wandb.Api(timeout=max(1, round(timeout)))


def _oneline(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
