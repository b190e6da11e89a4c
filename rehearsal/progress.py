"""The rehearsal's display: which step of which version runs."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from schemas.weighings import WeighingRecord


class Display:
    """A live table on a terminal; elsewhere a line for each change of state or step.

    Use as a context manager.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True) if console.is_terminal else None
        self._told: dict[str, str] = {}

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

    def show(self, weighings: Sequence[WeighingRecord]) -> None:
        """Show where each weighing stands."""
        if self._live:
            self._live.update(_table(weighings))
            return
        for weighing in weighings:
            step = _stage(weighing)
            if self._told.get(str(weighing.id)) != step:
                self._told[str(weighing.id)] = step
                self._console.print(f"  v{weighing.id.number}  {step}", highlight=False)


def _stage(weighing: WeighingRecord) -> str:
    return weighing.progress.step if weighing.progress else weighing.state


def _table(weighings: Sequence[WeighingRecord]) -> Table:
    table = Table("version", "found by", "state", "step", "", box=None)
    for weighing in weighings:
        progress = weighing.progress
        done = f"{progress.done}/{progress.total}" if progress and progress.total else ""
        table.add_row(
            f"v{weighing.id.number}",
            weighing.event.source,
            weighing.state,
            progress.step if progress else "",
            f"{done} {progress.detail}" if progress else "",
        )
    return table
