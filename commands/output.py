"""How weighings are printed: a line for each, or JSON for a script."""

import json
from collections.abc import Iterable, Iterator, Sequence

import click

from schemas.events import WeighingId
from schemas.weighings import Progress, WeighingRecord

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a script.")


def print_ids(weighings: Iterable[WeighingId], as_json: bool) -> None:
    """Print which weighings a command was about."""
    texts = [str(weighing) for weighing in weighings]
    click.echo(json.dumps(texts) if as_json else "\n".join(texts))


def print_weighings(records: Sequence[WeighingRecord], as_json: bool) -> None:
    """Print where weighings stand."""
    if as_json:
        click.echo(json.dumps([record.model_dump(mode="json") for record in records]))
        return
    for record in records:
        click.echo(line(record))


def line(record: WeighingRecord) -> str:
    """State, weighing, and what is to be said of it."""
    return f"{record.state:17} {record.id}  {', '.join(filter(None, _said(record)))}"


def _said(record: WeighingRecord) -> Iterator[str]:
    """Why a weighing came out as it did; before that, how far it is and what keeps it."""
    if record.settled:
        yield record.reason
        return
    if record.progress:
        yield standing(record.progress)
        yield means(record.progress)
    if record.decision:
        yield str(record.decision)
    if record.holder:
        yield f"by {record.holder}"
    if record.attempts > 1 or record.next_try_at:
        yield f"attempt {record.attempts}"
    if record.next_try_at:
        yield f"again at {record.next_try_at.astimezone():%H:%M:%S}: {record.reason}"


def standing(progress: Progress) -> str:
    """The step, and how far it is."""
    rows = f"{progress.done}/{progress.total}" if progress.total else ""
    return " ".join(filter(None, (progress.step, rows, progress.detail)))


def means(progress: Progress) -> str:
    """What was measured so far."""
    return " ".join(f"{name} {value:.3g}" for name, value in progress.metrics.items())
