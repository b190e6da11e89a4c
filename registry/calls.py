"""Calls to W&B: each error says which call broke, and who must act."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import wandb
from wandb.errors import AuthenticationError, Error, UsageError

from schemas.errors import ConfigurationError, PlatformError, WeighbridgeError

# What W&B and its SDKs say when trying again is pointless (facts/wandb-protocol.md 7).
_PERMANENT = re.compile(
    r"not found|permission denied|unable to find|does not exist|failed to load registry"
    r"|http 40[034]|error code: 4(?:00|03|04|22)",  # the second is how weave words it
    re.I,
)
_KEY_REFUSED = re.compile(r"api key|unauthorized|\b401\b", re.I)
# The SDK calls it an authentication error, too, when the server does not answer at all.
_NO_ANSWER = re.compile(r"did not respond|timed out|connection", re.I)

# The SDK's helper process tries a call for up to 16 minutes, and whoever ends waits for it
# (facts/wandb-protocol.md 8). Four tries are half a minute; the weighing itself is tried again.
os.environ.setdefault("WANDB_X_GRAPHQL_RETRY_MAX", "4")


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
    except (Error, ValueError, requests.RequestException) as error:
        raise told(what, error) from error


def told(what: str, error: Exception) -> WeighbridgeError:
    """What an SDK's error means for whoever asked for `what`."""
    text = " ".join(str(error).split()).rstrip(".")
    if _NO_ANSWER.search(text):
        return PlatformError(f"W&B did not {what}: {text}.")
    if isinstance(error, AuthenticationError | UsageError) or _KEY_REFUSED.search(text):
        return ConfigurationError(
            f"W&B refused to {what}: {text}.", fix="Check WANDB_API_KEY and WANDB_BASE_URL."
        )
    if _PERMANENT.search(text):
        return ConfigurationError(
            f"W&B could not {what}: {text}.",
            fix="Check the spelling, and that this API key may see it.",
        )
    return PlatformError(f"W&B did not {what}: {text}.")


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
