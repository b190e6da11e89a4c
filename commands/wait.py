"""Wait at the command line, with a live table on a terminal, or one line per change."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from commands.output import format_metrics, format_record, format_step, print_weighings
from schemas.verdicts import Outcome
from schemas.weighings import WeighingRecord

if TYPE_CHECKING:  # a worker's image has no producers
    from producers.waiting import OnChange

_INTERRUPTED = 130  # the exit code of a program that ctrl-C ended
_TABLE_MARGIN = 5  # lines of the terminal that are not rows


def wait_and_exit(
    wait: "Callable[[OnChange], list[WeighingRecord]]", wanted: Outcome, as_json: bool
) -> None:
    """Wait for weighings and print the results; exit with 1 unless all have the wanted outcome.

    Args:
        wait: Calls its argument with each record that changes, and returns the settled records.
        wanted: The wanted outcome.
        as_json: Whether to print JSON.
    """
    try:
        with _show_changes(Console(stderr=True)) as on_change:
            records = wait(on_change)
    except KeyboardInterrupt:
        click.echo("Stopped waiting. The weighings continue; see `weighbridge status`.", err=True)
        sys.exit(_INTERRUPTED)
    print_weighings(records, as_json)
    if any(record.state != wanted for record in records):
        sys.exit(1)


@contextmanager
def _show_changes(console: Console) -> "Iterator[OnChange]":
    if not console.is_terminal:
        yield lambda record: click.echo(format_record(record), err=True)
        return
    view = LiveView(console)
    with Live(console=console, get_renderable=view.table, transient=True):
        yield view.on_change


class LiveView:
    """A table of weighings, the running ones first.

    Args:
        console: Limits the number of rows to its height.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._records: dict[str, WeighingRecord] = {}

    def on_change(self, record: WeighingRecord) -> None:
        """Store a changed record."""
        self._records[str(record.id)] = record

    def table(self) -> Table:
        """Return the current table."""
        records = sorted(
            self._records.values(), key=lambda one: (one.settled, one.state != "running")
        )
        so_far = Column("so far", overflow="fold")
        table = Table("version", "gate", "state", "step", so_far, "time", box=None)
        for record in records[: max(1, self._console.height - _TABLE_MARGIN)]:
            table.add_row(*_cells(record))
        settled = sum(record.settled for record in records)
        table.caption = f"{settled} of {len(records)} have ended or await approval"
        return table


def _cells(record: WeighingRecord) -> tuple[str, ...]:
    progress = record.progress
    return (
        f"{record.id.version.collection}:v{record.id.number}",
        record.id.gate,
        record.state,
        format_step(progress) if progress else "",
        format_metrics(progress) if progress else "",
        _elapsed(record),
    )


def _elapsed(record: WeighingRecord) -> str:
    """Minutes and seconds from queueing to the end, or to now."""
    seconds = ((record.ended_at or datetime.now(UTC)) - record.queued_at).total_seconds()
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02}"
