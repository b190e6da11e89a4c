"""Show weighings, their history, and the workers."""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import get_args

import click
import redis

from bus.bus import Bus
from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE
from bus.ledger import Ledger
from bus.liveness import WorkerRecord, live_workers
from commands.output import json_option, print_weighings
from commands.selection import matching
from schemas.errors import ConfigurationError
from schemas.settings import Settings
from schemas.weighings import AuditLine, State

_BLOCK = 5.0  # seconds that one read of the audit stream waits
_RETRY_INTERVAL = 1.0  # seconds, while Redis is unavailable

_limit_option = click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N."
)


@click.command()
@click.argument("ref", required=False)
@click.option("--state", type=click.Choice(get_args(State)), help="Only weighings in this state.")
@_limit_option
@json_option
def status(ref: str | None, state: State | None, limit: int | None, as_json: bool) -> None:
    """Show all weighings, the newest last, or those of REF.

    REF is entity/project/collection:vN and may have shell wildcards.
    """
    with Bus.open(Settings()) as bus:
        records = list(bus.ledger.all())
    if ref is not None:
        records = matching(records, ref)
        if not records:
            raise ConfigurationError(
                f"{ref} was never weighed.", fix="Give its version number, or enqueue it."
            )
    records = [record for record in records if state in (None, record.state)]
    print_weighings(records[-(limit or len(records)) :], as_json)


@click.command()
@click.option("--follow", is_flag=True, help="Keep printing new transitions.")
@_limit_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object on each line.")
def events(follow: bool, limit: int | None, as_json: bool) -> None:
    """Show the transitions of weighings: time, weighing, new state and reason."""
    with Bus.open(Settings()) as bus:
        lines = bus.ledger.audit()
        _print_events(lines[-(limit or len(lines)) :], as_json)
        if follow:
            with suppress(KeyboardInterrupt):
                _follow(bus.ledger, lines[-1].stream_id if lines else "0", as_json)


def _follow(ledger: Ledger, after: str, as_json: bool) -> None:
    """Print new lines of the audit stream until interrupted, through outages of Redis."""
    is_down = False
    while True:
        try:
            lines = ledger.follow(after, block=_BLOCK)
        except redis.RedisError as error:
            if not is_down:
                click.echo(
                    f"Redis is unavailable; transitions are shown when it is back: {error}",
                    err=True,
                )
            is_down = True
            time.sleep(_RETRY_INTERVAL)
            continue
        if is_down:
            click.echo("Redis is back.", err=True)
        is_down = False
        _print_events(lines, as_json)
        after = lines[-1].stream_id if lines else after


def _print_events(lines: Sequence[AuditLine], as_json: bool) -> None:
    for line in lines:
        if as_json:
            click.echo(line.model_dump_json())
        else:
            click.echo(f"{line.at.astimezone():%F %T}  {line.id}  {line.state}  {line.note}")


@click.command()
@json_option
def workers(as_json: bool) -> None:
    """Show the workers; exit with 1 if one is stalled or a queue has no worker."""
    with Bus.open(Settings()) as bus:
        records = live_workers(bus.client)
    if as_json:
        click.echo(json.dumps([record.model_dump(mode="json") for record in records]))
    else:
        for record in records:
            click.echo(_worker_line(record))
    unserved = {EVENTS_QUEUE, GPU_QUEUE}.difference(*(one.queues for one in records))
    for queue in sorted(unserved):
        click.echo(f"No worker serves the queue {queue}.", err=True)
    if unserved or any(record.stalled for record in records):
        sys.exit(1)


def _worker_line(record: WorkerRecord) -> str:
    state = "stalled: not consuming; restart it" if record.stalled else ", ".join(record.busy_with)
    return f"{record.name}  {','.join(record.queues)}  {_last_self_test(record)}  {state or 'idle'}"


def _last_self_test(record: WorkerRecord) -> str:
    if record.heard_at is None:
        return "no self-test yet"
    return f"self-test {(datetime.now(UTC) - record.heard_at).total_seconds():.0f} s ago"
