"""Makes Weave's tracing light enough to run beside an engine that wants every core.

Measured on two cores, 66 rows of 7 calls: docs/performance.md.
"""

import typing
from functools import cache

from weave.trace.weave_client import WeaveClient, _get_call_processor
from weave.trace_server_bindings import call_batch_processor

_UPLOAD_EVERY = 0.25  # seconds
_ENDED_WITHIN = 5.0  # seconds


def lighten(client: WeaveClient) -> None:
    """Take out three costs of weave 0.54 that no setting of it reaches.

    * It asks of every value in every input and output whether it is an op, by `isinstance` with
      a runtime protocol. Python 3.12 looks up the protocol's members once, Python 3.11 each time:
      a third of what the worker does during an evaluation.
    * It uploads calls and feedback once a second and sleeps in between, also when it is told to
      flush: a second at the end of every evaluation.
    * It keeps a call until it has ended, and a flush waits five minutes for that. The calls of an
      evaluation that was cut off never end: the next flush waited, or the end of the process.

    Args:
        client: a new client.
    """
    _remember_protocol_members()
    call_batch_processor.FLUSH_TIMEOUT_SECONDS = _ENDED_WITHIN  # type: ignore[assignment]
    for processor in (_get_call_processor(client.server), client._server_feedback_processor):
        if processor is not None:
            processor.min_batch_interval = _UPLOAD_EVERY


@cache
def _remember_protocol_members() -> None:
    members = cache(typing._get_protocol_attrs)  # type: ignore[attr-defined]
    typing._get_protocol_attrs = members  # type: ignore[attr-defined]
