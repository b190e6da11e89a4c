"""The Celery tasks: thin wrappers around the ledger and the pipeline.

`celery -A worker.tasks worker` serves them; `weighbridge worker` does the same, sets up queues and
logging, and starts the sweeps.
"""

import os
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

import structlog
from celery import Task, signals
from pydantic import ValidationError

from bus.bus import Bus
from bus.celery_app import (
    DISPATCH_TASK,
    SWEEP_TASK,
    WEIGH_TASK,
    worker_app,
)
from bus.lease import Lease, LeaseLostError
from bus.ledger import Ledger
from bus.publish import publish_weighing
from bus.sweeper import sweep
from registry.calls import wandb_api
from registry.helper_process import end_helper_process
from registry.versions import resolve
from schemas.errors import ArtifactError, PlatformError, WeighbridgeError
from schemas.events import WeighingId
from schemas.settings import Settings
from schemas.verdicts import Verdict
from schemas.weighings import WeighingRecord
from worker.backoff import next_delay
from worker.stall_watchdog import StallWatchdog
from worker.steps import StepClock
from worker.task_state import TaskState

if TYPE_CHECKING:
    from engine import Engine, ExternalEngine

_OWNER = "WEIGHBRIDGE_WORKER_PID"

log = structlog.get_logger()
settings = Settings()
app = worker_app(settings)


@cache
def _bus() -> Bus:
    # Not at import: a parent and its forked children must not share a connection.
    return Bus.open(settings, app)


@signals.worker_init.connect
def _note_main_process(**_: object) -> None:
    # The engine survives a recycled child process, so the worker's main process owns it.
    os.environ[_OWNER] = str(os.getpid())


@cache
def _engine() -> "Engine | ExternalEngine":
    # Imported here, like the pipeline below: only a GPU worker should load torch and faiss.
    from engine import engine_of

    return engine_of(settings, owner_pid=int(os.environ.get(_OWNER, os.getpid())))


@app.task(name=DISPATCH_TASK)
def dispatch(event_ids: list[str]) -> list[str]:
    """Open a weighing for every gate that takes an event, and send its task.

    An event that cannot be dispatched now stays in the inbox, and the sweeper retries it.

    Returns:
        The weighings that these events opened; empty for duplicates.
    """
    opened: list[str] = []
    for event_id in event_ids:
        try:
            opened += _dispatch(event_id)
        except PlatformError as error:
            log.warning("event kept for a retry", event_id=event_id, reason=str(error))
            continue
        except (WeighbridgeError, ValidationError) as error:
            log.error("event refused", event_id=event_id, reason=str(error))
            _bus().ledger.note(event_id, "refused", str(error))
        _bus().inbox.remove(event_id)
    return opened


def _dispatch(event_id: str) -> list[str]:
    event = _bus().inbox.read(event_id)
    if event is None:
        return []  # a duplicate of this task has dispatched it
    if event.ref.number is None:
        version = resolve(wandb_api(settings.wandb_timeout), event.ref)
        event = event.model_copy(update={"ref": version.ref, "artifact_id": version.artifact_id})
    opened = []
    for gate in settings.gates.matching(event):
        weighing = WeighingId.of(gate.name, event.ref)
        if _bus().ledger.open(weighing, gate, event):
            publish_weighing(_bus(), weighing)
            opened.append(str(weighing))
        else:
            log.info("duplicate event", weighing=str(weighing), source=event.source)
    return opened


@app.task(name=SWEEP_TASK)
def sweep_ledger() -> list[str]:
    """Requeue the weighings of dead workers, and overdue events."""
    return [str(weighing) for weighing in sweep(_bus())]


@app.task(name=WEIGH_TASK, bind=True, ignore_result=False)
def weigh(task: Task, weighing_text: str) -> str:
    """Weigh one version, if this worker can claim the weighing.

    While it runs, the task's state is PROGRESS with the current step and its detail.

    Returns:
        The weighing's outcome, or how the attempt ended.
    """
    weighing = WeighingId.parse(weighing_text)
    ledger = _bus().ledger
    token = ledger.claim(weighing, str(task.request.hostname))
    record = ledger.get(weighing)
    if token is None or record is None:
        log.info("weighing not claimed", weighing=weighing_text)
        return "absorbed"
    with (
        structlog.contextvars.bound_contextvars(weighing=weighing_text),
        Lease(ledger, weighing, token, settings.lease) as lease,
    ):
        clock = StepClock(lease, TaskState(task))
        with StallWatchdog(clock, settings.stall_timeout):
            return _attempt(ledger, record, lease, clock)


def _attempt(ledger: Ledger, record: WeighingRecord, lease: Lease, clock: StepClock) -> str:
    try:
        if record.attempts > settings.max_attempts:
            raise ArtifactError(
                f"The worker died in each of {settings.max_attempts} attempts to weigh this"
                " version.",
                fix="See the workers' and the engine's logs; most often memory ran out.",
            )
        verdict = _run(ledger, record, clock)
    except LeaseLostError as error:
        log.warning("attempt stopped", reason=str(error))
        return "lease lost"
    except Exception as error:  # any error ends the weighing with its reason, or is retried
        log.exception("the attempt failed", attempt=record.attempts)
        end_helper_process()  # a dead helper process would fail every call of the next attempt
        delay = next_delay(record, settings, datetime.now(UTC)) if _is_retryable(error) else None
        if delay is not None:
            reason = str(error)
            lease.retry_write(lambda: ledger.release(record.id, lease.token, delay, reason))
            return "retried later"
        verdict = _failed(record, clock, error)
    if not lease.retry_write(lambda: ledger.end(verdict, lease.token)):
        log.warning("verdict discarded: another worker has the weighing")
        return "lease lost"
    log.info("verdict", outcome=verdict.outcome, reason=verdict.reason)
    return verdict.outcome


def _run(ledger: Ledger, record: WeighingRecord, clock: StepClock) -> Verdict:
    if record.decision:
        from worker.apply_decision import apply_decision

        return apply_decision(record, settings, clock)
    from worker.pipeline import weigh_version

    together = settings.side_by_side > 1 and _others_waiting(ledger, record)
    return weigh_version(record, settings, _engine(), clock, together=together)


def _others_waiting(ledger: Ledger, record: WeighingRecord) -> bool:
    """Whether other versions are running under the same gate, or wait for their first attempt."""
    others = (
        ledger.get(other)
        for other in ledger.unfinished()
        if other.gate == record.id.gate and other != record.id
    )
    return any(one and (one.state == "running" or not one.attempts) for one in others)


def _is_retryable(error: Exception) -> bool:
    """Weighbridge's errors know whether they are; any other error may be transient."""
    return error.retryable if isinstance(error, WeighbridgeError) else True


def _failed(record: WeighingRecord, clock: StepClock, error: Exception) -> Verdict:
    reason = (
        str(error) if isinstance(error, WeighbridgeError) else f"{type(error).__name__}: {error}"
    )
    if record.verdict:  # a decision could not be applied; evidence and report stay as they are
        failure = {"outcome": "failed", "reason": reason, "decision": record.decision}
        return record.verdict.model_copy(update=failure)
    from worker.publishing.publish import with_report

    verdict = Verdict(
        weighing=record.id,
        source=record.event.source,
        outcome="failed",
        reason=reason,
        gate_digest=record.gate.digest,
        seconds=clock.seconds,
    )
    return with_report(record.gate, verdict, settings)
