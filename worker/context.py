"""What the steps of a weighing work with, and how a version comes to answer there."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import wandb
import weave
from weave.trace.weave_client import WeaveClient

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
from worker.steps import StepClock
from worker.verdict.running_means import RunningMeans

Steps = Callable[[Step], AbstractContextManager[None]]
"""Called when a step begins; the step ends with the context."""


def untimed(_step: Step) -> AbstractContextManager[None]:
    """Steps that are part of another one."""
    return nullcontext()


class WeighingContext(NamedTuple):
    """What every step of one weighing works with.

    Attributes:
        record: the weighing, with the gate as it was when it was opened.
        engine: serves versions; it may be serving another one now.
        clock: times the steps and tells the ledger.
        client: of the project that the traces go to.
        run: the weighing's run in W&B.
        api: of W&B.
        together: other versions wait; the engine may serve several at once.
    """

    record: WeighingRecord
    settings: Settings
    engine: Engine | ExternalEngine
    clock: StepClock
    client: WeaveClient
    run: wandb.Run
    api: wandb.Api
    together: bool

    @property
    def gate(self) -> Gate:
        """The rule that the version is weighed by."""
        return self.record.gate


class ServedVersion(NamedTuple):
    """A version that answers.

    Attributes:
        rebuilt: the application around it.
        served: the version in the engine.
        concurrency: rows that it is asked at once.
    """

    rebuilt: RebuiltModel
    served: ServedModel
    concurrency: int


@contextmanager
def serve_version(
    context: WeighingContext,
    version: ArtifactRef,
    rag_model: WeaveRef,
    parameters: ChatModelParameters | None = None,
    steps: Steps = untimed,
) -> Iterator[ServedVersion]:
    """Download a version, load it into the engine, and rebuild the application around it.

    Args:
        version: what is to answer.
        rag_model: the application, whose chat model it becomes.
        parameters: of the chat model, where they differ from the application's.
        steps: hears of `download` and `rebuild`.

    Yields:
        The version; the engine is held until the block is left.
    """
    with ExitStack() as held:

        def fetch(ref: ArtifactRef) -> Path:
            trust = context.gate.trust_remote_code
            report = context.clock.report
            return held.enter_context(
                downloaded(context.run, ref, context.settings, report, trust_remote_code=trust)
            )

        with steps("download"):
            folder = fetch(version)
        with steps("rebuild"):
            # An alias may move while the engine loads the version.
            application = resolved(rag_model.uri)
            asked = load_chat_model(application, version.uri, parameters)
            options = ServeOptions(
                quantize=asked.cm_quantize,
                dtype=asked.dtype,
                trust_remote_code=context.gate.trust_remote_code,
                together=context.together,
            )
            served = held.enter_context(
                context.engine.serve(
                    folder,
                    str(version),
                    context.clock.report,
                    options=options,
                    fetch_base=lambda name: fetch(ArtifactRef.parse(name)),
                )
            )
            rebuilt = rebuild(application, version.uri, parameters)
        yield ServedVersion(rebuilt, served, _concurrency(context.settings, served))


def _concurrency(settings: Settings, served: ServedModel) -> int:
    return min(settings.evaluation_concurrency, served.at_once or settings.evaluation_concurrency)


@contextmanager
def report_progress(
    context: WeighingContext,
    version: ArtifactRef,
    answers: ServedVersion,
    evaluation: weave.Evaluation,
) -> Iterator[weave.Evaluation]:
    """Have a version answer an evaluation's rows, with the passages for them at hand.

    Yields:
        The evaluation, which reports each row that has its scores.
    """
    count = context.clock.counter(row_count(evaluation))
    means = RunningMeans(threshold.metric for threshold in context.gate.thresholds)

    def report(scores: Mapping[str, float]) -> None:
        means.add(scores)
        count(means.values)

    with (
        serving(version.uri, answers.served),
        answers.rebuilt.model.prepared(questions(evaluation)),
    ):
        yield with_row_callback(evaluation, report)
