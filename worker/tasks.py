"""The Celery tasks, thin: what decides is in the ledger, what works is in the pipeline.

`celery -A worker.tasks worker` serves them; `weighbridge worker` is the same with the queues, the
log and the beat set up.
"""

import os
from functools import cache
from typing import TYPE_CHECKING

import structlog
from celery import signals

from bus.celery_app import DISPATCH_TASK, SWEEP_TASK, WEIGH_TASK, celery_app
from bus.connection import connect
from bus.lease import Lease, LeaseLostError
from bus.ledger import Ledger
from bus.publish import publish_weighing
from bus.sweeper import sweep
from registry.calls import wandb_api
from registry.versions import resolve
from schemas.errors import WeighbridgeError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.settings import Settings
from schemas.verdicts import Verdict
from schemas.weighings import Weighing
from worker.steps import StepClock

if TYPE_CHECKING:
    from worker.inference import Engine

_ATTEMPTS = 3  # then the weighing has failed, with the last reason
_RETRY_DELAY = 20.0  # seconds, times the number of attempts so far

_OWNER = "WEIGHBRIDGE_WORKER_PID"

log = structlog.get_logger()
settings = Settings()
app = celery_app(settings)


@cache
def _ledger() -> Ledger:
    # Not at import: a connection must not be shared by a parent and its forked children.
    return Ledger(connect(settings.broker_url), settings.lease)


@signals.worker_init.connect
def _note_main_process(**_: object) -> None:
    # The engine outlives a recycled child, so it belongs to the worker's main process.
    os.environ[_OWNER] = str(os.getpid())


@cache
def _engine() -> "Engine":
    # Imported here, as the pipeline below: only a process that weighs pays for torch and faiss.
    from worker.inference import Engine, EngineSettings

    return Engine(
        EngineSettings(
            run_dir=settings.run_dir / "engine",
            models_dir=settings.models_dir,
            max_model_len=settings.max_model_len,
            kv_cache_gib=settings.kv_cache_gib,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            start_budget_s=settings.engine_start_budget,
        ),
        owner_pid=int(os.environ.get(_OWNER, os.getpid())),
    )


@app.task(name=DISPATCH_TASK)
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
    return [str(weighing) for weighing in sweep(app, connect(settings.broker_url), _ledger())]


@app.task(name=WEIGH_TASK)
def weigh(weighing_text: str) -> str:
    """Weigh one version, if the ledger says that it is this worker's turn.

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
        return _attempt(ledger, record, lease)


def _attempt(ledger: Ledger, record: Weighing, lease: Lease) -> str:
    clock = StepClock(lease)
    try:
        from worker.pipeline import weigh_version

        verdict = weigh_version(record, settings, _engine(), clock)
    except LeaseLostError as error:
        log.warning("stopped", reason=str(error))
        return "lease lost"
    except Exception as error:  # whatever broke: the weighing ends with a reason, or is tried again
        log.exception("the attempt failed", attempt=record.attempts)
        if _worth_another(error) and record.attempts < _ATTEMPTS:
            ledger.release(record.id, lease.token, _RETRY_DELAY * record.attempts, str(error))
            return "to be tried again"
        verdict = _failed(record, clock, error)
    if not ledger.end(verdict, lease.token):
        log.warning("the verdict came too late: another worker has the weighing")
        return "lease lost"
    log.info("verdict", outcome=verdict.outcome, reason=verdict.reason)
    return verdict.outcome


def _worth_another(error: Exception) -> bool:
    """Our own errors say it themselves; a stranger's may have been bad luck."""
    return error.retryable if isinstance(error, WeighbridgeError) else True


def _failed(record: Weighing, clock: StepClock, error: Exception) -> Verdict:
    reason = (
        str(error) if isinstance(error, WeighbridgeError) else f"{type(error).__name__}: {error}"
    )
    return Verdict(
        weighing=record.id,
        source=record.event.source,
        outcome="failed",
        reason=reason,
        seconds=clock.seconds,
    )
