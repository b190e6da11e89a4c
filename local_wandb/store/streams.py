"""The lines that a run streams: its history, its system metrics and its console."""

import json
from collections.abc import Sequence
from typing import Any

from local_wandb.store.rows import Run
from local_wandb.store.store import Store

HISTORY = "wandb-history.jsonl"
EVENTS = "wandb-events.jsonl"
CONSOLE = "output.log"
SUMMARY = "wandb-summary.json"


def write_lines(store: Store, run: Run, stream: str, offset: int, lines: Sequence[str]) -> None:
    """Store lines at their positions; a line that is sent again replaces itself.

    Args:
        stream: ``HISTORY``, ``EVENTS`` or ``CONSOLE``.
        offset: The number of the first line.
        lines: The texts of the lines.
    """
    with store.database.write() as connection:
        connection.executemany(
            "INSERT INTO run_line (run_id, stream, number, line) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (run_id, stream, number) DO UPDATE SET line = excluded.line",
            [(run.id, stream, offset + i, line) for i, line in enumerate(lines)],
        )


def read_lines(store: Store, run: Run, stream: str) -> list[str]:
    """Return every line of a stream, in order.

    Args:
        stream: ``HISTORY``, ``EVENTS`` or ``CONSOLE``.
    """
    rows = store.database.rows(
        "SELECT line FROM run_line WHERE run_id = ? AND stream = ? ORDER BY number",
        (run.id, stream),
    )
    return [row["line"] for row in rows]


def count_lines(store: Store, run: Run, stream: str) -> int:
    """Return the number of lines of a stream.

    Args:
        stream: ``HISTORY``, ``EVENTS`` or ``CONSOLE``.
    """
    row = store.database.row(
        "SELECT count(*) AS n FROM run_line WHERE run_id = ? AND stream = ?", (run.id, stream)
    )
    return int(row["n"]) if row else 0


def read_history(store: Store, run: Run) -> list[dict[str, Any]]:
    """Return the history of a run, one dictionary per step.

    NaN and Infinity, which JSON lacks, are returned as texts.
    """
    return [json.loads(line, parse_constant=str) for line in read_lines(store, run, HISTORY)]
