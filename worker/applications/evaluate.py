"""Runs an application's evaluations, each in a process of its own, and watches them."""

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import structlog

from application.batches import IsDecided
from application.exchange import Exchanged
from application.protocol import (
    BatchScored,
    Continue,
    Done,
    Evaluate,
    Failed,
    Ready,
    RowScored,
    Started,
    Stop,
)
from engine.gateway import Gateway
from schemas.applications import Application
from schemas.errors import EvidenceError, InternalError, PlatformError
from schemas.rows import ENVIRONMENT
from schemas.settings import Settings
from schemas.weighings import WeighingRecord
from worker.applications.prepared import Launch, PreparedProcess, spares
from worker.context import ServedVersion
from worker.published_evaluation import PublishedEvaluation
from worker.recording import Recording
from worker.steps import StepClock
from worker.verdict.evidence import Evaluated, read_back
from worker.verdict.prices import Price, read_prices
from worker.verdict.running_means import RunningMeans
from worker.verdict.usage import gateway_metrics

log = structlog.get_logger()


class ApplicationRuns:
    """Runs the evaluations of one weighing; a context manager that ends their processes.

    A process is started at once, unless one waits, so that its imports are done when the version
    is served. After a weighing that reached its end, one is started for the next version.

    Args:
        application: The gate's application.
        record: The weighing.
        settings: The operator's choices.
        clock: Receives the progress, and knows whether the lease is lost.
        recording: The weighing's run and clients.
    """

    def __init__(
        self,
        application: Application,
        record: WeighingRecord,
        settings: Settings,
        clock: StepClock,
        recording: Recording,
    ) -> None:
        key = settings.application_wandb_api_key
        own_key = key.get_secret_value() if key else str(recording.api.api_key)
        self._launch = Launch(record.gate.name, application, settings, own_key)
        self._record = record
        self._clock = clock
        self._recording = recording
        self._prepared: PreparedProcess | None = None

    def __enter__(self) -> Self:
        self._prepared = spares.take(self._launch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._prepared:
            self._prepared.end()
        if error is None:
            spares.prepare(self._launch)

    def environment(self) -> str:
        """Return the digest of the versions of the application's packages.

        Raises:
            ConfigurationError: The interpreter cannot run the application.
            PlatformError: Its process ended, or took too long to import the modules.
        """
        self._prepared = self._prepared or spares.take(self._launch)
        return self._ready(self._prepared).environment

    def evaluate(
        self,
        served: ServedVersion,
        evaluation: PublishedEvaluation,
        *,
        is_decided: IsDecided | None,
        batch: int,
    ) -> Evaluated:
        """Have the application run an evaluation of a served version.

        Args:
            is_decided: Called after each batch; the evaluation stops when it returns True.
            batch: Dataset rows in a batch.

        Returns:
            The evidence, as the trace server has it, with the usage that the gateway has counted.

        Raises:
            ConfigurationError: The application does not fit its stored objects, or a model that it
                queries refuses the request.
            PlatformError: Its process ended, hung or took too long, or the engine failed.
            EvidenceError: Evidence is missing on the trace server, or a row has no answer.
            LeaseLostError: Another worker has the weighing.
        """
        rebuilt = served.rebuilt
        if not isinstance(rebuilt, Exchanged):
            raise InternalError("An application's process cannot run our own RagModel.")
        run, self._prepared = self._prepared or spares.take(self._launch), None
        try:
            environment = self._ready(run).environment
            run.gateway.serve(served.endpoint, rebuilt.value)
            request = self._request(served, evaluation, batch if is_decided else None, environment)
            call = self._run(run, request, is_decided)
            run.gateway.check()
            evaluated = self._evidence(run.gateway, call)
            used = run.gateway.usage()
        finally:
            run.end()
        prices = self._prices(used, served, rebuilt.value)
        return evaluated.with_measured(gateway_metrics(used, version=rebuilt.value, prices=prices))

    def _ready(self, run: PreparedProcess) -> Ready:
        ready = run.ready(time.monotonic() + self._launch.application.timeout, self._clock.check)
        self._recording.run.config.update(  # type: ignore[no-untyped-call]
            {"application": ready.model_dump(exclude={"type"})}
        )
        log.info("application ready", python=ready.python, weave=ready.weave)
        return ready

    def _request(
        self,
        served: ServedVersion,
        evaluation: PublishedEvaluation,
        batch: int | None,
        environment: str,
    ) -> Evaluate:
        gate, run = self._record.gate, self._recording.run
        return Evaluate(
            project=gate.rag_model.project_path,
            model=served.rebuilt.ref.uri,
            evaluation=evaluation.ref,
            modules=self._launch.application.modules,
            run_id=str(run.id),
            run_step=run.step,
            concurrency=served.concurrency,
            allow_stored_code=gate.allow_stored_code,
            batch=batch,
            attributes={ENVIRONMENT: environment},
        )

    def _run(self, run: PreparedProcess, request: Evaluate, is_decided: IsDecided | None) -> str:
        """Have a process run an evaluation; return the id of its root call."""
        run.process.send(request)
        try:
            return self._watch(run, is_decided)
        except PlatformError:
            run.gateway.check()  # the engine's own failure says more than what was made of it
            raise

    def _watch(self, run: PreparedProcess, is_decided: IsDecided | None) -> str:
        """Report the progress of an evaluation until it has ended; return its root call's id."""

        def check() -> None:
            self._clock.check()
            run.gateway.check()

        means = RunningMeans(threshold.metric for threshold in self._record.gate.thresholds)
        count = self._clock.counter(0)
        deadline = time.monotonic() + self._launch.application.timeout
        while True:
            match report := run.process.receive(deadline, check):
                case Started():
                    count = self._clock.counter(report.rows * report.trials)
                case RowScored():
                    means.add(report.scores)
                    count(means.values)
                case BatchScored():
                    stop = is_decided is not None and is_decided(report.rows)
                    run.process.send(Stop() if stop else Continue())
                case Done():
                    return report.call
                case Failed():
                    raise report.error()

    def _prices(
        self, models: Iterable[str], served: ServedVersion, version: str
    ) -> dict[str, Price]:
        """Read the prices of some models; the version's may be that of its collection."""
        names = (version, str(served.ref), served.ref.collection_path)
        prices = read_prices(self._recording.client, {*models, *names})
        own = next((prices[name] for name in names if name in prices), None)
        return prices | ({version: own} if own else {})

    def _evidence(self, gateway: Gateway, call: str) -> Evaluated:
        """Read an evaluation back.

        Raises:
            ConfigurationError: Evidence is missing, and a model has refused a request: it would do
                so again.
            EvidenceError: Evidence is missing for another reason.
        """
        try:
            return read_back(self._recording.client, call)
        except EvidenceError as error:
            if refusal := gateway.refusal():
                raise refusal from error
            raise
