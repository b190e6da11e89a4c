"""Makes Weave's tracing cheap enough to share the cores with an engine.

Measured on two cores, 66 rows of 7 calls: docs/performance.md.
"""

import typing
from functools import cache
from typing import Any

from weave.trace.weave_client import WeaveClient, _get_call_processor
from weave.trace_server_bindings import call_batch_processor

_UPLOAD_INTERVAL = 0.25  # seconds
_FLUSH_TIMEOUT = 5.0  # seconds


def lighten(client: WeaveClient) -> None:
    """Remove three costs of weave 0.54 that its settings do not cover.

    * It checks every value in every input and output for being an op, with ``isinstance`` and a
      runtime protocol. Python 3.12 looks up the protocol's members once, Python 3.11 each time.
      That takes a third of the worker's time during an evaluation.
    * It uploads calls and feedback once a second and sleeps in between, even during a flush. That
      adds a second to every evaluation.
    * It keeps a call until the call has ended, and a flush waits five minutes for that. The calls
      of an interrupted evaluation never end, so the next flush, or the end of the process, hangs.

    Args:
        client: A new client.
    """
    _remember_protocol_members()
    call_batch_processor.FLUSH_TIMEOUT_SECONDS = _FLUSH_TIMEOUT  # type: ignore[assignment]
    for processor in upload_processors(client):
        processor.min_batch_interval = _UPLOAD_INTERVAL


def upload_processors(client: WeaveClient) -> list[Any]:
    """Return the batch processors that upload a client's calls and feedback."""
    processors = (_get_call_processor(client.server), client._server_feedback_processor)
    return [processor for processor in processors if processor is not None]


@cache
def _remember_protocol_members() -> None:
    members = cache(typing._get_protocol_attrs)  # type: ignore[attr-defined]
    typing._get_protocol_attrs = members  # type: ignore[attr-defined]
