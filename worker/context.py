"""What the steps of a weighing share, and how a version is served to its evaluation."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from application.exchange import Exchanged, exchange, resolved_application
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

if TYPE_CHECKING:
    from worker.applications.evaluate import ApplicationRuns

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
        applications: Runs the evaluations where the gate has an application of its own.
    """

    record: WeighingRecord
    settings: Settings
    engine: Engine | ExternalEngine
    clock: StepClock
    recording: Recording
    together: bool
    applications: "ApplicationRuns | None" = None

    @property
    def gate(self) -> Gate:
        """The rule that the version is weighed by."""
        return self.record.gate


class ServedVersion(NamedTuple):
    """A version in the engine, and the application around it.

    Attributes:
        ref: The version.
        rebuilt: The application around it: an instance of ours, or another team's as data.
        endpoint: The version in the engine.
        concurrency: Rows that are evaluated at once.
    """

    ref: ArtifactRef
    rebuilt: RebuiltModel | Exchanged
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
            application = _Application.of(context.gate, rag_model, version, parameters)
            endpoint = stack.enter_context(
                context.engine.serve(
                    folder,
                    str(version),
                    context.clock.report,
                    options=application.serve_options(concurrent=context.together),
                    fetch_base=lambda name: fetch(ArtifactRef.parse(name)),
                )
            )
            rebuilt = application.rebuilt()
        yield ServedVersion(version, rebuilt, endpoint, _concurrency(context.settings, endpoint))


class _Application(NamedTuple):
    """An application by digest, and the version that it is rebuilt around."""

    gate: Gate
    ref: str
    version: ArtifactRef
    parameters: ChatModelParameters | None

    @classmethod
    def of(
        cls,
        gate: Gate,
        rag_model: WeaveRef,
        version: ArtifactRef,
        parameters: ChatModelParameters | None,
    ) -> Self:
        resolve = resolved_application if gate.application else resolved
        return cls(gate, resolve(rag_model.uri), version, parameters)

    def serve_options(self, *, concurrent: bool) -> ServeOptions:
        remote_code = self.gate.trust_remote_code
        if self.gate.application:
            return ServeOptions(trust_remote_code=remote_code, concurrent=concurrent)
        chat_model = load_chat_model(self.ref, self.version.uri, self.parameters)
        return ServeOptions(
            quantize=chat_model.cm_quantize,
            dtype=chat_model.dtype,
            trust_remote_code=remote_code,
            concurrent=concurrent,
        )

    def rebuilt(self) -> RebuiltModel | Exchanged:
        if application := self.gate.application:
            return exchange(self.ref, application.exchange, self.version, self.parameters)
        return rebuild(self.ref, self.version.uri, self.parameters)


def _concurrency(settings: Settings, endpoint: ServedModel) -> int:
    limit = settings.evaluation_concurrency
    return min(limit, endpoint.max_concurrency or limit)
