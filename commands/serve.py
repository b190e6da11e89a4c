"""The long-running processes: poller, webhook receiver, worker."""

import signal
import threading

import click

from bus.bus import Bus
from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE
from schemas.errors import ConfigurationError
from schemas.settings import Settings


@click.command()
@click.option("--once", is_flag=True, help="Run one full scan and exit.")
def poll(once: bool) -> None:
    """Compare the Registry with the ledger, and enqueue missing versions."""
    from producers.poller import poll as poll_forever
    from producers.poller import poll_once

    with Bus.open(Settings()) as bus:
        if once:
            for weighing in poll_once(bus):
                click.echo(str(weighing))
        else:
            poll_forever(bus, _stop_on_signal())


def _stop_on_signal() -> threading.Event:
    """Return an event that SIGTERM or ctrl-C sets."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


@click.command()
def webhook() -> None:
    """Receive webhooks from W&B automations."""
    from producers.webhook import serve, webhook_app

    settings = Settings()
    serve(webhook_app(settings), settings)


@click.command()
@click.option(
    "--queues",
    default=f"{EVENTS_QUEUE},{GPU_QUEUE}",
    show_default=True,
    help="Queues to serve; a machine without a GPU serves events only.",
)
def worker(queues: str) -> None:
    """Run a worker: dispatch events, weigh versions, requeue the weighings of dead workers."""
    from worker.main import run_worker

    served = [queue.strip() for queue in queues.split(",")]
    if unknown := set(served) - {EVENTS_QUEUE, GPU_QUEUE}:
        raise ConfigurationError(
            f"There is no queue {', '.join(sorted(unknown))}.",
            fix=f"The queues are {EVENTS_QUEUE} and {GPU_QUEUE}.",
        )
    run_worker(served)
