"""The rehearsal's display: the current step of each version."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from schemas.weighings import WeighingRecord


class Display:
    """A live table on a terminal; otherwise a line for each change of state or step.

    Use it as a context manager.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True) if console.is_terminal else None
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, records: Sequence[WeighingRecord]) -> None:
        """Show the state of each weighing."""
        if self._live:
            self._live.update(_table(records))
            return
        for record in records:
            step = _step(record)
            if self._shown.get(str(record.id)) != step:
                self._shown[str(record.id)] = step
                self._console.print(f"  v{record.id.number}  {step}", highlight=False)


def _step(record: WeighingRecord) -> str:
    return record.progress.step if record.progress else record.state


def _table(records: Sequence[WeighingRecord]) -> Table:
    table = Table("version", "found by", "state", "step", "", box=None)
    for record in records:
        progress = record.progress
        done = f"{progress.done}/{progress.total}" if progress and progress.total else ""
        table.add_row(
            f"v{record.id.number}",
            record.event.source,
            record.state,
            progress.step if progress else "",
            f"{done} {progress.detail}" if progress else "",
        )
    return table
