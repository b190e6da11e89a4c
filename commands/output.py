"""Print weighings: one line each, or JSON for scripts."""

import json
from collections.abc import Iterable, Iterator, Sequence

import click

from schemas.events import WeighingId
from schemas.weighings import Progress, WeighingRecord

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def print_ids(weighings: Iterable[WeighingId], as_json: bool) -> None:
    """Print the ids of weighings."""
    texts = [str(weighing) for weighing in weighings]
    click.echo(json.dumps(texts) if as_json else "\n".join(texts))


def print_weighings(records: Sequence[WeighingRecord], as_json: bool) -> None:
    """Print the records of weighings."""
    if as_json:
        click.echo(json.dumps([record.model_dump(mode="json") for record in records]))
        return
    for record in records:
        click.echo(format_record(record))


def format_record(record: WeighingRecord) -> str:
    """Format a record as one line: state, weighing and details."""
    return f"{record.state:17} {record.id}  {', '.join(filter(None, _details(record)))}"


def _details(record: WeighingRecord) -> Iterator[str]:
    """Yield a settled weighing's reason; otherwise its progress and what it waits for."""
    if record.settled:
        yield record.reason
        return
    if record.progress:
        yield format_step(record.progress)
        yield format_metrics(record.progress)
    if record.decision:
        yield str(record.decision)
    if record.holder:
        yield f"by {record.holder}"
    if record.attempts > 1 or record.next_try_at:
        yield f"attempt {record.attempts}"
    if record.next_try_at:
        yield f"next attempt at {record.next_try_at.astimezone():%H:%M:%S}: {record.reason}"


def format_step(progress: Progress) -> str:
    """Format the current step and its progress."""
    rows = f"{progress.done}/{progress.total}" if progress.total else ""
    return " ".join(filter(None, (progress.step, rows, progress.detail)))


def format_metrics(progress: Progress) -> str:
    """Format the running means of the metrics."""
    return " ".join(f"{name} {value:.3g}" for name, value in progress.metrics.items())
