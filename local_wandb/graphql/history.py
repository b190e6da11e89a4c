"""The history of a run, step by step, and its system metrics."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local_wandb.errors import RequestError
from local_wandb.graphql.context import Context
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.store.rows import Run
from local_wandb.store.streams import (
    CONSOLE,
    EVENTS,
    HISTORY,
    count_lines,
    read_history,
    read_lines,
)

T = TypeVar("T")


@dataclass(frozen=True)
class ParquetHistory:
    """History as Parquet files; here all of it is live, so there are no files."""

    live_data: list[dict[str, Any]]
    parquet_urls: list[str] = field(default_factory=list)


class SampleSpec(BaseModel):
    """The rows of a history that a client requests.

    Attributes:
        keys: Only rows with all of these keys are returned, reduced to them; an empty list returns
            every row unreduced.
        min_step: The first step.
        max_step: The last step.
        samples: The maximum number of rows.
    """

    model_config = ConfigDict(populate_by_name=True)

    keys: list[str] = []
    min_step: int = Field(default=0, alias="minStep")
    max_step: int | None = Field(default=None, alias="maxStep")
    samples: int | None = None


RESOLVERS = Resolvers()
RESOLVERS.row(ParquetHistory)


@RESOLVERS.field("Run.historyLineCount")
def _history_count(run: Run, context: Context) -> int:
    return count_lines(context.store, run, HISTORY)


@RESOLVERS.field("Run.eventsLineCount")
def _events_count(run: Run, context: Context) -> int:
    return count_lines(context.store, run, EVENTS)


@RESOLVERS.field("Run.logLineCount")
def _console_count(run: Run, context: Context) -> int:
    return count_lines(context.store, run, CONSOLE)


@RESOLVERS.field("Run.historyTail")
def _history_tail(run: Run, context: Context) -> str:
    return json.dumps(read_lines(context.store, run, HISTORY)[-1:])


@RESOLVERS.field("Run.eventsTail")
def _events_tail(run: Run, context: Context) -> str:
    return json.dumps(read_lines(context.store, run, EVENTS)[-1:])


@RESOLVERS.field("Run.history")
def _history(
    run: Run,
    context: Context,
    min_step: int | None = None,
    max_step: int | None = None,
    samples: int | None = None,
) -> list[str]:
    # Here maxStep is exclusive; in a spec of sampledHistory it is inclusive.
    last = None if max_step is None else max_step - 1
    spec = SampleSpec(min_step=min_step or 0, max_step=last, samples=samples)
    return [json.dumps(row) for row in _select_rows(read_history(context.store, run), spec)]


@RESOLVERS.field("Run.events")
def _events(run: Run, context: Context, samples: int | None = None) -> list[str]:
    return sample(read_lines(context.store, run, EVENTS), samples)


@RESOLVERS.field("Run.sampledHistory")
def _sampled_history(run: Run, context: Context, specs: list[str]) -> list[list[dict[str, Any]]]:
    rows = read_history(context.store, run)
    return [_select_rows(rows, _parse(spec)) for spec in specs]


@RESOLVERS.field("Run.parquetHistory")
def _parquet_history(
    run: Run, context: Context, live_keys: list[str] | None = None
) -> ParquetHistory:
    return ParquetHistory(
        _select_rows(read_history(context.store, run), SampleSpec(keys=live_keys or []))
    )


@RESOLVERS.field("Run.historyKeys")
def _history_keys(run: Run, context: Context) -> dict[str, Any]:
    rows = read_history(context.store, run)
    keys = sorted({key for row in rows for key in row})
    return {
        "sets": [],
        "keys": {key: {"typeCounts": _type_counts(rows, key)} for key in keys},
        "lastStep": max((int(row.get("_step", 0)) for row in rows), default=-1),
    }


def sample(rows: Sequence[T], samples: int | None) -> list[T]:
    """Return evenly spaced rows, including the first and the last.

    Args:
        samples: The maximum number of rows; None returns all.
    """
    if samples is None or len(rows) <= samples:
        return list(rows)
    if samples < 2:
        return list(rows[-samples:]) if samples else []
    last = len(rows) - 1
    return [rows[i * last // (samples - 1)] for i in range(samples)]


def _parse(spec: str) -> SampleSpec:
    try:
        return SampleSpec.model_validate_json(spec)
    except ValidationError as error:
        raise RequestError(f"history cannot be sampled by {spec}") from error


def _select_rows(rows: list[dict[str, Any]], spec: SampleSpec) -> list[dict[str, Any]]:
    last = math.inf if spec.max_step is None else spec.max_step
    steps = [row for row in rows if spec.min_step <= row.get("_step", 0) <= last]
    if spec.keys:
        steps = [{k: row[k] for k in spec.keys} for row in steps if row.keys() >= set(spec.keys)]
    return sample(steps, spec.samples)


def _type_counts(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    values = [row[key] for row in rows if key in row]
    numbers = sum(isinstance(value, int | float) for value in values)
    counts = {"number": numbers, "other": len(values) - numbers}
    return [{"type": kind, "count": count} for kind, count in counts.items() if count]
