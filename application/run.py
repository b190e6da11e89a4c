"""The application process: prepares, runs one evaluation, and reports it row by row."""

import os
import platform
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import distributions

import weave
from weave.trace.weave_client import WeaveClient

from application.batches import Callbacks, in_batches, with_callbacks
from application.channel import Channel
from application.evaluate import run_evaluation
from application.instances import Instances
from application.modules import import_modules
from application.protocol import (
    BatchScored,
    Continue,
    Done,
    Evaluate,
    Failed,
    Prepare,
    Ready,
    RowScored,
    Started,
    Stop,
)
from schemas.rows import Row
from schemas.upstream_errors import translate_error

_ENVIRONMENT = {
    # Else wandb.init of the application replaces our Weave client by one with other settings.
    "WANDB_DISABLE_WEAVE": "true",
    # The gateway counts tokens. If Weave traced the application's clients too, it would count them
    # a second time, under the names that the clients give.
    "WEAVE_IMPLICITLY_PATCH_INTEGRATIONS": "false",
    "WEAVE_PRINT_CALL_LINK": "false",
}


def serve(read: int, write: int) -> int:
    """Answer the worker until the evaluation has ended.

    Args:
        read: File descriptor of the pipe that the worker writes to.
        write: File descriptor of the pipe that the worker reads.

    Returns:
        The exit status: 0 if the evaluation ended or was never asked for.
    """
    os.environ |= _ENVIRONMENT
    channel = Channel(read, write)
    try:
        _answer(channel)
    except (Exception, SystemExit) as error:  # the application may raise anything
        traceback.print_exc()  # into the log
        channel.send(Failed.of(error))
        return 1
    return 0


def _answer(channel: Channel) -> None:
    modules = None
    while True:
        message = channel.receive()
        if isinstance(message, Prepare | Evaluate) and modules is None:
            modules = import_modules(message.modules)
            channel.send(_ready())
        if isinstance(message, Evaluate):
            channel.send(Done(call=_evaluate(channel, message)))
        if isinstance(message, Evaluate | Stop):
            return


def _ready() -> Ready:
    # A path may come twice in sys.path; the first distribution of a name is the one that counts.
    packages: dict[str, str] = {}
    for found in distributions():
        if name := found.metadata["Name"]:  # a damaged installation has none
            packages.setdefault(name, found.version)
    return Ready(python=platform.python_version(), weave=weave.__version__, packages=packages)


def _evaluate(channel: Channel, request: Evaluate) -> str:
    """Run the evaluation, and return the id of its root call."""
    modules = import_modules(request.modules)
    client = _client(request.project, allow_stored_code=request.allow_stored_code)
    instances = Instances(modules, allow_stored_code=request.allow_stored_code)
    model, published = instances.model(request.model), instances.evaluation(request.evaluation)
    rows, trials = len(published.dataset.rows), published.trials

    def on_start(call: str) -> None:
        channel.send(Started(call=call, rows=rows, trials=trials))

    def on_row(scores: Mapping[str, float]) -> None:
        channel.send(RowScored(scores=dict(scores)))

    def is_decided(evaluated: Sequence[Row]) -> bool:
        channel.send(BatchScored(rows=tuple(evaluated)))
        return not isinstance(channel.receive(), Continue)

    callbacks = Callbacks(on_start=on_start, on_row=on_row, is_stopped=channel.is_stopped)
    evaluation = with_callbacks(published, callbacks)
    if request.batch is not None:
        evaluation = in_batches(evaluation, request.batch, is_decided)
    return run_evaluation(
        client,
        evaluation,
        model,
        run_id=request.run_id,
        run_step=request.run_step,
        concurrency=request.concurrency,
        attributes=request.attributes,
    )


def _client(project: str, *, allow_stored_code: bool) -> WeaveClient:
    """Open a project in Weave.

    Raises:
        ConfigurationError: The key is refused, or there is no such entity.
        PlatformError: The trace server does not answer.
    """
    os.environ["WEAVE_ALLOW_UNSAFE_CUSTOM_OBJ_DECODE"] = str(allow_stored_code).lower()
    try:
        client = weave.init(project)
    except Exception as error:
        raise translate_error(f"open project {project} in Weave", error) from error
    # Only known to fit the worker's version of Weave, and only for speed.
    with suppress(ImportError, AttributeError):
        from application.tracing import lighten

        lighten(client)
    return client
