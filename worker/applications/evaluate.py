"""Runs an application's evaluations, each in a process of its own, and watches them."""

import os
import time
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from application.batches import IsDecided
from application.exchange import Exchanged
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
from engine.gateway import Gateway
from schemas.applications import Application
from schemas.errors import EvidenceError, InternalError, PlatformError
from schemas.rows import ENVIRONMENT
from schemas.settings import Settings
from schemas.weighings import WeighingRecord
from worker.applications.environment import Door, application_environment
from worker.applications.process import ApplicationProcess
from worker.context import ServedVersion
from worker.published_evaluation import PublishedEvaluation
from worker.recording import Recording
from worker.steps import StepClock
from worker.verdict.evidence import Evaluated, read_back
from worker.verdict.running_means import RunningMeans
from worker.verdict.usage import gateway_metrics

log = structlog.get_logger()


class _Run(NamedTuple):
    """A process that has not evaluated anything yet, and its way to the models."""

    gateway: Gateway
    process: ApplicationProcess
    stack: ExitStack


class ApplicationRuns:
    """Runs the evaluations of one weighing; a context manager that ends their processes.

    A process is started at once, so that its imports are done when the version is served.

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
        self._application = application
        self._record = record
        self._settings = settings
        self._clock = clock
        self._recording = recording
        self._prepared: _Run | None = None
        self._environment: str | None = None

    def __enter__(self) -> Self:
        self._prepared = self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._prepared:
            self._prepared.stack.close()

    def environment(self) -> str:
        """Return the digest of the versions of the application's packages.

        Raises:
            ConfigurationError: The interpreter cannot run the application.
            PlatformError: Its process ended, or took too long to import the modules.
        """
        if self._environment is None:
            self._prepared = self._prepared or self._start()
            self._environment = self._receive_ready(self._prepared).environment
        return self._environment

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
        environment = self.environment()
        run, self._prepared = self._prepared or self._start(), None
        with run.stack:
            run.gateway.serve(served.endpoint, rebuilt.value)
            request = self._request(served, evaluation, batch if is_decided else None, environment)
            call = self._run(run, request, is_decided)
            run.gateway.check()
            evaluated = self._evidence(run.gateway, call)
            measured = gateway_metrics(run.gateway.usage(), version=rebuilt.value)
        return evaluated.with_measured(measured)

    def _start(self) -> _Run:
        application, record, settings = self._application, self._record, self._settings
        name = f"{record.gate.name}-{record.id.version.collection}-{record.id.version.version}.log"
        own_key = settings.application_wandb_api_key
        key = own_key.get_secret_value() if own_key else self._recording.api.api_key
        with ExitStack() as stack:
            gateway = stack.enter_context(Gateway(application.models))
            process = stack.enter_context(
                ApplicationProcess(
                    application,
                    partial(
                        application_environment,
                        application,
                        Door(gateway.url, gateway.token),
                        wandb_key=str(key),
                        source=os.environ,
                    ),
                    settings.run_dir / "applications" / name.replace("/", "_"),
                    settings.application_launcher or "",
                )
            )
            process.send(Prepare(modules=application.modules))
            return _Run(gateway, process, stack.pop_all())

    def _receive_ready(self, run: _Run) -> Ready:
        deadline = time.monotonic() + self._application.timeout
        report = run.process.receive(deadline, self._clock.check)
        if isinstance(report, Failed):
            raise report.error()
        if not isinstance(report, Ready):
            raise PlatformError(f"The application began with '{report.type}', not with 'ready'.")
        self._recording.run.config.update(  # type: ignore[no-untyped-call]
            {"application": report.model_dump(exclude={"type"})}
        )
        log.info("application ready", python=report.python, weave=report.weave)
        return report

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
            modules=self._application.modules,
            run_id=str(run.id),
            run_step=run.step,
            concurrency=served.concurrency,
            allow_stored_code=gate.allow_stored_code,
            batch=batch,
            attributes={ENVIRONMENT: environment},
        )

    def _run(self, run: _Run, request: Evaluate, is_decided: IsDecided | None) -> str:
        """Have a process run an evaluation; return the id of its root call."""
        run.process.send(request)
        try:
            return self._watch(run, is_decided)
        except PlatformError:
            run.gateway.check()  # the engine's own failure says more than what was made of it
            raise

    def _watch(self, run: _Run, is_decided: IsDecided | None) -> str:
        """Report the progress of an evaluation until it has ended; return its root call's id."""

        def check() -> None:
            self._clock.check()
            run.gateway.check()

        means = RunningMeans(threshold.metric for threshold in self._record.gate.thresholds)
        count = self._clock.counter(0)
        deadline = time.monotonic() + self._application.timeout
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
