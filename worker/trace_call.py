"""Calls to Weave's trace server that tell at once when they fail."""

from collections.abc import Iterator
from contextlib import contextmanager

from weave.vendor.weave_server_sdk import WeaveTraceError

from registry.calls import told


@contextmanager
def trace_call(what: str) -> Iterator[None]:
    """Translate what a call to the trace server raises into an error that says who must act.

    Args:
        what: the call in words, as in "read call 1234"; it begins the message.

    Raises:
        ConfigurationError: the key is refused, or the thing is not ours.
        PlatformError: the trace server did not answer, or not as promised.
    """
    try:
        yield
    except WeaveTraceError as error:
        raise told(what, error) from error
