"""The poller: compares the Registry with the ledger. The webhook is a hint, this is the truth."""

import threading

import redis
import structlog
import wandb
from celery import Celery

from bus.celery_app import EVENTS_QUEUE
from bus.ledger import Ledger
from bus.publish import publish
from registry.calls import wandb_api
from registry.versions import versions
from schemas.errors import ConfigurationError, PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, GateFile
from schemas.settings import Settings

log = structlog.get_logger()


def poll_once(app: Celery, ledger: Ledger, api: wandb.Api, gates: GateFile) -> list[WeighingId]:
    """Publish an event for every watched version that the ledger does not know.

    Returns:
        What was published.

    Raises:
        ConfigurationError: a watched registry does not exist, or the key is refused.
        PlatformError: W&B or Redis did not answer.
    """
    return [weighing for gate in gates.gates for weighing in _poll_gate(app, ledger, api, gate)]


def _poll_gate(app: Celery, ledger: Ledger, api: wandb.Api, gate: Gate) -> list[WeighingId]:
    published = []
    for pattern in gate.watch:
        for version in versions(api, pattern):
            weighing = WeighingId.of(gate.name, version.ref)
            if ledger.knows(weighing):
                continue
            event = ModelVersionEvent(
                ref=version.ref, artifact_id=version.artifact_id, source="poller", gate=gate.name
            )
            publish(app, event)
            log.info("the poller found a version", version=str(version.ref), gate=gate.name)
            published.append(weighing)
    return published


def poll(
    app: Celery,
    client: redis.Redis,
    ledger: Ledger,
    settings: Settings,
    stop: threading.Event,
) -> None:
    """Look at the Registry every `poll_interval` seconds until told to stop.

    What one gate cannot do is logged and tried again; the other gates are looked at all the same.

    Raises:
        ConfigurationError: the gate file has a fault, or there is no API key.
    """
    gates, api = settings.gates, None
    while not stop.is_set():
        try:
            api = api or wandb_api(settings.wandb_timeout)
            _look(app, client, ledger, api, gates)
        except (PlatformError, redis.RedisError) as error:
            log.warning("the poller could not look", reason=str(error))
        stop.wait(settings.poll_interval)


def _look(
    app: Celery, client: redis.Redis, ledger: Ledger, api: wandb.Api, gates: GateFile
) -> None:
    if client.llen(EVENTS_QUEUE):
        log.warning("events wait to be dispatched; is a worker serving the events queue?")
        return  # what was published before would be published again
    for gate in gates.gates:
        try:
            _poll_gate(app, ledger, api, gate)
        except (ConfigurationError, PlatformError) as error:
            log.warning("the poller could not look", gate=gate.name, reason=str(error))
