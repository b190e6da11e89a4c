"""Reads an evaluation back from the trace server, and requires it to be complete.

Weave returns a normal summary even when rows raised or traces were lost
(docs/upstream/weave-protocol.md, "Evaluations and scores" and "Delivery and outages"). So only what
the trace server has counts. Everything is read as plain JSON: no stored code runs.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from weave.trace.refs import ObjectRef, OpRef
from weave.trace.urls import redirect_call
from weave.trace.weave_client import WeaveClient
from weave.vendor.weave_server_sdk import NotFoundError
from weave.vendor.weave_server_sdk.types.call_stream_query_params import (
    CallStreamQueryParams,
)
from weave.vendor.weave_server_sdk.types.call_stream_query_params import (
    Filter as CallsFilter,
)

from application.trace_call import trace_call
from schemas.errors import ConfigurationError, EvidenceError
from schemas.rows import ENVIRONMENT, LATENCY, Row, flat_scores
from worker.verdict.usage import usage_metrics

_EVALUATE, _PREDICTION, _SUMMARIZE = (
    f"Evaluation.{name}" for name in ("evaluate", "predict_and_score", "summarize")
)
AFTER_A_WHILE = (0.1, 0.2, 0.4, 0.8, 1.5, *(3.0,) * 9)
"""Seconds between attempts to read, half a minute in all: W&B may show a call with a delay."""

_REFS_AT_ONCE = 500  # so that the request stays small


class Evaluated(BaseModel):
    """An evaluation that ran, as the trace server has it.

    Attributes:
        call: Id of the root call.
        url: Page of the root call.
        evaluation: Ref of the evaluation, by digest.
        dataset: Ref of its dataset, by digest.
        model: Ref of the model that was evaluated, by digest.
        of_rows: Number of predictions in the whole evaluation.
        rows: The predictions, in the order in which they were begun.
        summary: Weave's summary by scorer, with the metrics of ``usage.py``.
        environment: Digest of the versions of the packages that ran it; None in the worker.
        measured: Metrics that the gateway has measured; None where there was none.
    """

    model_config = ConfigDict(frozen=True)

    call: str
    url: str
    evaluation: str
    dataset: str
    model: str
    of_rows: int
    rows: tuple[Row, ...]
    summary: dict[str, Any]
    environment: str | None = None
    measured: dict[str, dict[str, Any]] | None = None

    def with_measured(self, measured: dict[str, dict[str, Any]] | None) -> "Evaluated":
        """Return it with the gateway's metrics, which take precedence over those of its calls.

        Latency is the exception: that of a row is measured by its call.
        """
        found = measured or {}
        latency = {**self.summary.get("latency", {}), **found.get("latency", {})}
        summary = self.summary | found | ({"latency": latency} if latency else {})
        return self.model_copy(update={"summary": summary, "measured": measured})


def read_back(
    client: WeaveClient, call_id: str, waits: Sequence[float] = AFTER_A_WHILE
) -> Evaluated:
    """Read an evaluation, once its root has ended and every row that it counted has arrived.

    Args:
        call_id: Id of its root call, of ``Evaluation.evaluate``.
        waits: Seconds before each further attempt while something is missing.

    Raises:
        ConfigurationError: The call is not of an evaluation.
        EvidenceError: The call, its end or a row did not arrive, or a row has no answer.
        PlatformError: The trace server does not answer.
    """
    with trace_call(f"read evaluation call {call_id} back"):
        return _read_back(client, call_id, waits)


def _read_back(client: WeaveClient, call_id: str, waits: Sequence[float]) -> Evaluated:
    for wait in (*waits, 0.0):
        root = _root(client, call_id)
        children = list(_calls(client, {"parent_ids": [call_id]}))
        predictions = [call for call in children if _is(call, _PREDICTION)]
        counted = _counted(client, [call for call in children if _is(call, _SUMMARIZE)])
        if root and root.ended_at is not None and len(predictions) == counted:
            return _evaluated(client, root, predictions)
        time.sleep(wait)
    if root is None:
        raise EvidenceError(f"There is no Weave call {call_id} in {client.project_id}.")
    raise EvidenceError(
        f"Evaluation call {call_id} has {len(predictions)} of {counted or 'its'} rows on the trace"
        f" server, and has {'ended' if root.ended_at else 'not ended'} there."
    )


def evaluation_calls(client: WeaveClient, evaluation: str, model: str) -> list[str]:
    """Ids of the calls that ran an evaluation on a model, the newest first.

    Args:
        evaluation: Ref of the evaluation, by digest.
        model: Ref of the model, by digest.
    """
    op = OpRef(entity=client.entity, project=client.project, name=_EVALUATE, _digest="*").uri
    with trace_call(f"find the evaluations of {model}"):
        calls = list(_calls(client, {"op_names": [op], "input_refs": [model]}))
    ours = [one for one in calls if one.inputs["self"] == evaluation]
    return [one.id for one in sorted(ours, key=lambda one: one.started_at, reverse=True)]


def _evaluated(client: WeaveClient, root: Any, predictions: Sequence[Any]) -> Evaluated:
    if root.exception or not isinstance(root.output, Mapping):
        raise EvidenceError(f"Evaluation call {root.id} ended without a summary: {root.exception}.")
    evaluation = _read(client, [root.inputs["self"]])[0]
    rows = _rows(client, predictions)
    return Evaluated(
        call=root.id,
        url=redirect_call(client.entity, client.project, root.id),
        evaluation=root.inputs["self"],
        dataset=evaluation["dataset"],
        model=root.inputs["model"],
        of_rows=_dataset_size(client, evaluation) * (evaluation.get("trials") or 1),
        rows=rows,
        # A scorer of the same name takes precedence.
        summary={**usage_metrics(root.summary, rows), **root.output},
        environment=(root.attributes or {}).get(ENVIRONMENT),
    )


def _root(client: WeaveClient, call_id: str) -> Any | None:
    for call in _calls(client, {"call_ids": [call_id]}, include_costs=True):
        if _is(call, _EVALUATE):
            return call
        raise ConfigurationError(
            f"Weave call {call_id} is one of {call.op_name}, not of an evaluation.",
            fix="Name the evaluation's own call; its page in Weave has the id at the end.",
        )
    return None


def _calls(
    client: WeaveClient, wanted: CallsFilter, *, include_costs: bool = False
) -> Iterator[Any]:
    yield from client.server.calls_query_stream(
        CallStreamQueryParams(
            project_id=client.project_id,
            filter=wanted,
            include_costs=include_costs,
        )
    )


def _is(call: Any, op: str) -> bool:
    name = call.op_name
    return bool((OpRef.parse_uri(name).name if name.startswith("weave:///") else name) == op)


def _counted(client: WeaveClient, summarize: Sequence[Any]) -> int | None:
    """Number of rows in the summary; None before there is one."""
    if not summarize:
        return None
    table = _read(client, [summarize[0].inputs["eval_table"]])[0]["rows"]
    return _table_size(client, table)


def _dataset_size(client: WeaveClient, evaluation: Mapping[str, Any]) -> int:
    return _table_size(client, _read(client, [evaluation["dataset"]])[0]["rows"])


def _table_size(client: WeaveClient, table: str) -> int:
    digest = table.rpartition("/")[2]
    found = client.server.table_query_stats({"project_id": client.project_id, "digest": digest})
    return int(found.count)


def _read(client: WeaveClient, refs: Sequence[str]) -> list[Any]:
    values: list[Any] = []
    for start in range(0, len(refs), _REFS_AT_ONCE):
        some = list(refs[start : start + _REFS_AT_ONCE])
        values += client.server.refs_read_batch({"refs": some}).vals
    return values


def _rows(client: WeaveClient, predictions: Sequence[Any]) -> tuple[Row, ...]:
    """The question, answer and scores of each prediction.

    Raises:
        EvidenceError: A prediction has no answer.
    """
    unanswered = [call for call in predictions if _answer(call) is None]
    if unanswered:
        raise EvidenceError(
            f"{len(unanswered)} of {len(predictions)} rows have no answer; the first is Weave call"
            f" {unanswered[0].id}.",
            fix="See the errors of its children in Weave.",
        )
    columns = _read(client, [call.inputs["example"] for call in predictions])
    values = _referenced(client, [call.output for call in predictions])
    return tuple(
        _row(call, row, _resolved(call.output, values))
        for call, row in zip(predictions, columns, strict=True)
    )


def _answer(call: Any) -> Any:
    if call.exception or not isinstance(call.output, Mapping):
        return None
    return _output(call.output)


def _output(result: Mapping[str, Any]) -> Any:
    return result.get("output", result.get("model_output"))


def _row(call: Any, columns: Mapping[str, Any], result: Mapping[str, Any]) -> Row:
    measured = {LATENCY: result.get(LATENCY), **(result.get("scores") or {})}
    return Row(
        call=call.id,
        digest=ObjectRef.parse_uri(call.inputs["example"]).extra[-1],
        columns=dict(columns),
        output=_output(result),
        scores=flat_scores(measured),
    )


def _referenced(client: WeaveClient, results: Iterable[Any]) -> dict[str, Any]:
    """The values behind references in results: Weave stores a published object's fields as such.

    Text of a model that only looks like a reference stays as it is.
    """
    objects = f"weave:///{client.project_id}/object/"
    refs = sorted({text for text in _texts(results) if text.startswith(objects)})
    try:
        return dict(zip(refs, _read(client, refs), strict=True))
    except NotFoundError:
        return {}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | Iterable):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _resolved(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return values.get(value, value)
    if isinstance(value, Mapping):
        return {key: _resolved(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, values) for inner in value]
    return value
