"""The processes that run for good: poller, webhook receiver, worker."""

import signal
import threading

import click

from bus.bus import Bus
from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE
from schemas.errors import ConfigurationError
from schemas.settings import Settings


@click.command()
@click.option("--once", is_flag=True, help="Look once and exit.")
def poll(once: bool) -> None:
    """Compare the Registry with the ledger, and publish what is missing."""
    from producers.poller import poll as poll_forever
    from producers.poller import poll_once

    with Bus.open(Settings()) as bus:
        if once:
            for weighing in poll_once(bus):
                click.echo(str(weighing))
        else:
            poll_forever(bus, _stop_on_signal())


def _stop_on_signal() -> threading.Event:
    """An event that SIGTERM or ctrl-C sets."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


@click.command()
def webhook() -> None:
    """Receive W&B's automation webhooks."""
    from producers.webhook import serve, webhook_app

    settings = Settings()
    serve(webhook_app(settings), settings)


@click.command()
@click.option(
    "--queues",
    default=f"{EVENTS_QUEUE},{GPU_QUEUE}",
    show_default=True,
    help="Which queues to serve: a machine without a GPU serves events only.",
)
def worker(queues: str) -> None:
    """Serve the bus: dispatch events, weigh versions, sweep up after dead workers."""
    from worker.main import run_worker

    served = [queue.strip() for queue in queues.split(",")]
    if unknown := set(served) - {EVENTS_QUEUE, GPU_QUEUE}:
        raise ConfigurationError(
            f"There is no queue {', '.join(sorted(unknown))}.",
            fix=f"The queues are {EVENTS_QUEUE} and {GPU_QUEUE}.",
        )
    run_worker(served)
