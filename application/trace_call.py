"""Calls to Weave's trace server that tell at once when they fail."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from weave.vendor.weave_server_sdk import WeaveTraceError

from schemas.errors import WeighbridgeError
from schemas.upstream_errors import translate_error


@contextmanager
def trace_call(what: str, passing: type[Exception] = WeighbridgeError) -> Iterator[None]:
    """Translate what a call to the trace server raises into an error that says who must act.

    Args:
        what: the call in words, as in "read call 1234"; it begins the message.
        passing: what the caller answers itself; our own errors pass in any case.

    Raises:
        ConfigurationError: the key is refused, or the thing is not ours.
        PlatformError: the trace server did not answer, or not as promised.
    """
    try:
        yield
    except (WeighbridgeError, passing):
        raise
    except (WeaveTraceError, requests.RequestException, ValueError) as error:
        # How `ref.get()` words a status is a ValueError.
        raise translate_error(what, error) from error
