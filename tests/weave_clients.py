"""Clients of Weave that are gone when their test is."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

import weave
from weave.trace import init_message
from weave.trace.context import call_context
from weave.trace.context.weave_client_context import set_weave_client_global
from weave.trace.weave_client import WeaveClient
from weave.trace_server_bindings.async_batch_processor import AsyncBatchProcessor
from weave.trace_server_bindings.call_batch_processor import CallBatchProcessor

from application import tracing
from application.tracing import lighten, upload_processors
from worker import recording

_UPLOAD_INTERVAL = 0.02  # seconds


def upload_at_once() -> None:
    """Have this process's clients upload at once, and ask nobody for newer versions of Weave.

    By default Weave uploads once a second, and each flush waits for that.
    """
    tracing._UPLOAD_INTERVAL = _UPLOAD_INTERVAL
    for processor in (AsyncBatchProcessor, CallBatchProcessor):
        processor.__init__ = partialmethod(  # type: ignore[assignment,method-assign]
            processor.__init__, min_batch_interval=_UPLOAD_INTERVAL
        )
    init_message._print_version_check = lambda: None


@contextmanager
def connected(project: str, *, stored_code: bool = True) -> Iterator[WeaveClient]:
    """A client of a project, the current one.

    Args:
        stored_code: whether it runs the code of stored ops, as Weave does by itself.
    """
    set_weave_client_global(None)  # else Weave would wait for all that the current one began
    client = weave.init(
        project,
        settings={
            "implicitly_patch_integrations": False,
            "allow_unsafe_custom_obj_decode": stored_code,
        },
    )
    try:
        yield client
    finally:
        end(client)


def end(client: WeaveClient) -> None:
    """Send a client's data and end its threads, which Weave ends only with the process.

    `weave.finish` is not called while there is a client: it waits forever for calls that never
    end, such as those of an interrupted evaluation. Such calls would also be the parents of the
    next client's calls.
    """
    set_weave_client_global(None)
    call_context._call_stack.set([])
    weave.finish()
    lighten(client)
    for executor in (client.future_executor, client.future_executor_fastlane):
        if executor is not None:
            executor._shutdown()
            atexit.unregister(executor._shutdown)
    for processor in upload_processors(client):
        processor.stop_accepting_new_work_and_flush_queue()
        atexit.unregister(processor.stop_accepting_new_work_and_flush_queue)


def end_known_clients() -> None:
    """End the clients that the worker's code keeps."""
    while recording._clients:
        end(recording._clients.popitem()[1])
