"""The Celery tasks, thin: what decides is in the ledger, what works is in the pipeline.

`celery -A worker.tasks worker` serves them; `weighbridge worker` is the same with the queues, the
log and the beat set up.
"""

import os
from functools import cache
from typing import TYPE_CHECKING

import redis
import structlog
from celery import Task, signals

from bus.celery_app import DISPATCH_TASK, SWEEP_TASK, WEIGH_TASK, worker_app
from bus.connection import connect
from bus.lease import Lease, LeaseLostError
from bus.ledger import Ledger
from bus.publish import publish_weighing
from bus.sweeper import sweep
from registry.calls import wandb_api
from registry.versions import resolve
from schemas.errors import ArtifactError, PlatformError, WeighbridgeError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.settings import Settings
from schemas.verdicts import Verdict
from schemas.weighings import Weighing
from worker.steps import StepClock
from worker.task_state import TaskState

if TYPE_CHECKING:
    from worker.inference import Engine, ExternalEngine

_ATTEMPTS = 5  # then the weighing has failed, with the last reason
# Seconds before the second, third ... attempt: W&B may be away for a while.
_DELAYS = (30.0, 120.0, 480.0, 1200.0)

_OWNER = "WEIGHBRIDGE_WORKER_PID"

log = structlog.get_logger()
settings = Settings()
app = worker_app(settings)


@cache
def _client() -> redis.Redis:
    # Not at import: a connection must not be shared by a parent and its forked children.
    return connect(settings.broker_url)


@cache
def _ledger() -> Ledger:
    return Ledger(_client(), settings.lease)


@signals.worker_init.connect
def _note_main_process(**_: object) -> None:
    # The engine outlives a recycled child, so it belongs to the worker's main process.
    os.environ[_OWNER] = str(os.getpid())


@cache
def _engine() -> "Engine | ExternalEngine":
    # Imported here, as the pipeline below: only a process that weighs pays for torch and faiss.
    from worker.inference import engine_of

    return engine_of(settings, owner_pid=int(os.environ.get(_OWNER, os.getpid())))


@app.task(
    name=DISPATCH_TASK,
    autoretry_for=(PlatformError, redis.RedisError),
    retry_backoff=True,
    max_retries=10,
)
def dispatch(event_json: str) -> list[str]:
    """Open a weighing for every gate that the version falls under, and send its task.

    Returns:
        The weighings that this event opened; empty when it told nothing new.
    """
    event = ModelVersionEvent.model_validate_json(event_json)
    if event.ref.number is None:
        version = resolve(wandb_api(settings.wandb_timeout), event.ref)
        event = event.model_copy(update={"ref": version.ref, "artifact_id": version.artifact_id})
    opened = []
    for gate in _gates(event):
        weighing = WeighingId.of(gate.name, event.ref)
        if _ledger().open(weighing, gate, event):
            publish_weighing(app, weighing)
            opened.append(str(weighing))
        else:
            log.info("already known", weighing=str(weighing), source=event.source)
    return opened


def _gates(event: ModelVersionEvent) -> list[Gate]:
    if event.gate is not None:
        return [settings.gates.named(event.gate)]
    gates = settings.gates.watching(event.ref.collection_path)
    if not gates:
        log.info("no gate watches this collection", version=str(event.ref))
    return gates


@app.task(name=SWEEP_TASK)
def sweep_ledger() -> list[str]:
    """Send again what a dead worker left behind."""
    return [str(weighing) for weighing in sweep(app, _client(), _ledger())]


@app.task(name=WEIGH_TASK, bind=True, ignore_result=False)
def weigh(task: Task, weighing_text: str) -> str:
    """Weigh one version, if the ledger says that it is this worker's turn.

    While it runs, the task's state is PROGRESS, with the step and what it does.

    Returns:
        The weighing's outcome, or what became of the attempt.
    """
    weighing = WeighingId.parse(weighing_text)
    ledger = _ledger()
    token = ledger.claim(weighing)
    record = ledger.get(weighing)
    if token is None or record is None:
        log.info("not to be weighed now", weighing=weighing_text)
        return "absorbed"
    with (
        structlog.contextvars.bound_contextvars(weighing=weighing_text),
        Lease(ledger, weighing, token, settings.lease) as lease,
    ):
        return _attempt(ledger, record, lease, StepClock(lease, TaskState(task)))


def _attempt(ledger: Ledger, record: Weighing, lease: Lease, clock: StepClock) -> str:
    try:
        if record.attempts > _ATTEMPTS:
            raise ArtifactError(
                f"The worker died in each of {_ATTEMPTS} attempts to weigh this version.",
                fix="The workers' and the engine's logs say how; most often memory ran out.",
            )
        verdict = _weighed(ledger, record, clock)
    except LeaseLostError as error:
        log.warning("stopped", reason=str(error))
        return "lease lost"
    except Exception as error:  # whatever broke: the weighing ends with a reason, or is tried again
        log.exception("the attempt failed", attempt=record.attempts)
        _forget_sdk()
        if _worth_another(error) and record.attempts < _ATTEMPTS:
            ledger.release(record.id, lease.token, _DELAYS[record.attempts - 1], str(error))
            return "to be tried again"
        verdict = _failed(record, clock, error)
    written = ledger.suspend if verdict.outcome == "awaiting approval" else ledger.end
    if not written(verdict, lease.token):
        log.warning("the verdict came too late: another worker has the weighing")
        return "lease lost"
    log.info("verdict", outcome=verdict.outcome, reason=verdict.reason)
    return verdict.outcome


def _weighed(ledger: Ledger, record: Weighing, clock: StepClock) -> Verdict:
    if record.decision:
        from worker.carry_out import carry_out

        return carry_out(record, settings, clock)
    from worker.pipeline import weigh_version

    together = settings.side_by_side > 1 and _has_company(ledger, record)
    return weigh_version(record, settings, _engine(), clock, together=together)


def _has_company(ledger: Ledger, record: Weighing) -> bool:
    """Whether other versions run under the same gate, or wait for their first attempt."""
    others = (
        ledger.get(other)
        for other in ledger.unfinished()
        if other.gate == record.id.gate and other != record.id
    )
    return any(one and (one.state == "running" or not one.attempts) for one in others)


def _forget_sdk() -> None:
    """Have the next attempt start wandb's helper process anew: a dead one fails every call."""
    import wandb

    wandb.teardown()


def _worth_another(error: Exception) -> bool:
    """Our own errors say it themselves; a stranger's may have been bad luck."""
    return error.retryable if isinstance(error, WeighbridgeError) else True


def _failed(record: Weighing, clock: StepClock, error: Exception) -> Verdict:
    reason = (
        str(error) if isinstance(error, WeighbridgeError) else f"{type(error).__name__}: {error}"
    )
    if record.verdict:  # a decision that could not be carried out; evidence and report stand
        told = {"outcome": "failed", "reason": reason, "decision": record.decision}
        return record.verdict.model_copy(update=told)
    from worker.announce import with_report

    verdict = Verdict(
        weighing=record.id,
        source=record.event.source,
        outcome="failed",
        reason=reason,
        gate_digest=record.gate.digest,
        seconds=clock.seconds,
    )
    return with_report(record.gate, verdict, settings)
