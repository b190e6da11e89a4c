"""What the steps of a weighing share, and how a version is served to its evaluation."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import weave

from application.batches import with_row_callback
from application.evaluate import questions, row_count
from application.rag.serving import serving
from application.rebuild import RebuiltModel, load_chat_model, rebuild, resolved
from engine import Engine, ExternalEngine, ServedModel, ServeOptions
from schemas.gates import ChatModelParameters, Gate
from schemas.refs import ArtifactRef, WeaveRef
from schemas.settings import Settings
from schemas.verdicts import Step
from schemas.weighings import WeighingRecord
from worker.artifacts.download import downloaded
from worker.recording import Recording
from worker.steps import StepClock
from worker.verdict.running_means import RunningMeans

StepTimer = Callable[[Step], AbstractContextManager[None]]
"""Called when a step begins; the step ends with the context."""


def untimed(_step: Step) -> AbstractContextManager[None]:
    """Leave steps untimed, because they are part of another one."""
    return nullcontext()


class WeighingContext(NamedTuple):
    """What every step of one weighing works with.

    Attributes:
        record: The weighing, with the gate as of its opening.
        engine: Serves versions; it may be serving another one now.
        clock: Times the steps and reports them to the ledger.
        recording: The weighing's run in W&B, and the clients that write beside it.
        together: Whether other versions wait, so that the engine may serve several at once.
    """

    record: WeighingRecord
    settings: Settings
    engine: Engine | ExternalEngine
    clock: StepClock
    recording: Recording
    together: bool

    @property
    def gate(self) -> Gate:
        """The rule that the version is weighed by."""
        return self.record.gate


class ServedVersion(NamedTuple):
    """A version in the engine, and the application around it.

    Attributes:
        ref: The version.
        rebuilt: The application around it.
        endpoint: The version in the engine.
        concurrency: Rows that are evaluated at once.
    """

    ref: ArtifactRef
    rebuilt: RebuiltModel
    endpoint: ServedModel
    concurrency: int


@contextmanager
def serve_version(
    context: WeighingContext,
    version: ArtifactRef,
    rag_model: WeaveRef,
    parameters: ChatModelParameters | None = None,
    timer: StepTimer = untimed,
) -> Iterator[ServedVersion]:
    """Download a version, load it into the engine, and rebuild the application around it.

    Args:
        version: The version to serve.
        rag_model: The application, whose chat model the version replaces.
        parameters: Parameters of the chat model that differ from the application's.
        timer: Times ``download`` and ``rebuild``.

    Yields:
        The version; the engine serves it until the block is left.
    """
    with ExitStack() as stack:

        def fetch(ref: ArtifactRef) -> Path:
            return stack.enter_context(
                downloaded(
                    context.recording.run,
                    ref,
                    context.settings,
                    context.clock.report,
                    trust_remote_code=context.gate.trust_remote_code,
                )
            )

        with timer("download"):
            folder = fetch(version)
        with timer("rebuild"):
            # An alias may move while the engine loads the version.
            application = resolved(rag_model.uri)
            chat_model = load_chat_model(application, version.uri, parameters)
            options = ServeOptions(
                quantize=chat_model.cm_quantize,
                dtype=chat_model.dtype,
                trust_remote_code=context.gate.trust_remote_code,
                concurrent=context.together,
            )
            endpoint = stack.enter_context(
                context.engine.serve(
                    folder,
                    str(version),
                    context.clock.report,
                    options=options,
                    fetch_base=lambda name: fetch(ArtifactRef.parse(name)),
                )
            )
            rebuilt = rebuild(application, version.uri, parameters)
        yield ServedVersion(version, rebuilt, endpoint, _concurrency(context.settings, endpoint))


def _concurrency(settings: Settings, endpoint: ServedModel) -> int:
    limit = settings.evaluation_concurrency
    return min(limit, endpoint.max_concurrency or limit)


@contextmanager
def prepare_evaluation(
    context: WeighingContext, served: ServedVersion, evaluation: weave.Evaluation
) -> Iterator[weave.Evaluation]:
    """Route an evaluation's requests to a served version, and retrieve the passages beforehand.

    Yields:
        The evaluation, which reports progress after each row that is scored.
    """
    count = context.clock.counter(row_count(evaluation))
    means = RunningMeans(threshold.metric for threshold in context.gate.thresholds)

    def on_row(scores: Mapping[str, float]) -> None:
        means.add(scores)
        count(means.values)

    with (
        serving(served.ref.uri, served.endpoint),
        served.rebuilt.model.prepared(questions(evaluation)),
    ):
        yield with_row_callback(evaluation, on_row)
