"""Calls to Weave's trace server, with errors that name who must act."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from weave.trace.settings import override_settings
from weave.vendor.weave_server_sdk import WeaveTraceError

from schemas.errors import WeighbridgeError
from schemas.upstream_errors import translate_error


@contextmanager
def trace_call(what: str, passing: type[Exception] = WeighbridgeError) -> Iterator[None]:
    """Translate an error raised during a call to the trace server.

    Args:
        what: The call in words, as in "read call 1234"; it begins the message.
        passing: An error that the caller handles itself. Our own errors always pass.

    Raises:
        ConfigurationError: The key is refused, or may not access the object.
        PlatformError: The trace server did not answer, or broke its protocol.
    """
    try:
        yield
    except (WeighbridgeError, passing):
        raise
    except (WeaveTraceError, requests.RequestException, ValueError) as error:
        # `ref.get()` raises a ValueError that names the status.
        raise translate_error(what, error) from error


@contextmanager
def uncached_trace_call(what: str, passing: type[Exception] = WeighbridgeError) -> Iterator[None]:
    """Bypass the client's cache during a ``trace_call``.

    The cache (weave 0.54) is on disk and shared by every process of the machine. It treats an
    alias as a digest and keeps the first version that the alias named, and it reports an object
    as stored after another process has deleted it or published a later version.
    """
    with trace_call(what, passing), override_settings(use_server_cache=False):
        yield
