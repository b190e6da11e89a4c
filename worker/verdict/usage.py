"""Tokens, dollars and seconds of an evaluation, from its calls on the trace server.

Weave adds up the usage of a call's children into the call itself (weave 0.54,
``WeaveClient.finish_call``), so the root call has the usage of the whole evaluation, each request
counted once. The server multiplies it by the project's prices when a call is read with its costs.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from schemas.rows import LATENCY, Row
from schemas.usage import ModelUsage
from worker.verdict.prices import Price

_COUNTS = ("requests", "prompt_tokens", "completion_tokens", "total_tokens")
_PRICES = ("prompt_token_cost", "completion_token_cost")
_TOTAL = "_total_cost"  # suffix of the totals, one for each kind of token
_PERCENTILES = (50, 95)


def usage_metrics(
    root: Mapping[str, Any] | None, rows: Sequence[Row]
) -> dict[str, dict[str, float]]:
    """An evaluation's usage, cost and latency as metrics; an incomplete figure is left out.

    Args:
        root: Summary of the evaluation's root call, read with its costs.
        rows: The evaluation's rows.

    Returns:
        ``usage``: ``requests``, ``prompt_tokens``, ``completion_tokens`` and ``total_tokens`` of
        every model that was queried, also by scorers. ``cost``: ``total`` in US dollars, if each
        of these models has a price in the project. ``latency``: ``p50`` and ``p95``, seconds from
        a row's question to its answer.
    """
    summary = root or {}
    usage = summary.get("usage") or {}
    costs = (summary.get("weave") or {}).get("costs") or {}
    measured = {"usage": _usage(usage), "cost": _cost(usage, costs), "latency": _latency(rows)}
    return {name: figures for name, figures in measured.items() if figures}


def metric_names(other_models: Iterable[str] = ()) -> list[str]:
    """Return the metrics that an evaluation has if no figure is incomplete, as dotted paths.

    Args:
        other_models: Models that a gateway counts apart from the version.
    """
    measured = [
        *(f"usage.{{}}{count}" for count in _COUNTS),
        "cost.{}total",
        *(f"latency.{{}}p{rank}" for rank in _PERCENTILES),
    ]
    models = ["", *(f"{model}." for model in other_models)]
    return [metric.format(model) for metric in measured for model in models]


def gateway_metrics(
    used: Mapping[str, ModelUsage], *, version: str, prices: Mapping[str, Price]
) -> dict[str, dict[str, Any]]:
    """What the gateway has counted during an evaluation, as metrics.

    Args:
        used: The requests to each model, by name.
        version: The name of the version that was evaluated.
        prices: Prices by the same names, of those models that have one.

    Returns:
        ``usage``: ``requests``, ``prompt_tokens``, ``completion_tokens`` and ``total_tokens`` of
        the version, and those of each other model under its name. The tokens are left out where
        an answer did not say how many it took. ``cost``: in the same way, ``total`` in US dollars
        where the tokens and the price are known. ``latency``: ``p50`` and ``p95`` of each other
        model under its name, seconds per request; those of the version are per row, as Weave
        measures them.
    """
    usage, cost, latency = {}, {}, {}
    for name, model in used.items():
        usage[name] = _counts_of(model)
        if name in prices and not model.uncounted_requests:
            cost[name] = {"total": prices[name].of(model)}
        if name != version and model.seconds:
            latency[name] = _percentiles(model.seconds)
    usage.setdefault(version, _counts_of(ModelUsage()))
    measured = {"usage": usage, "cost": cost, "latency": latency}
    return {name: _of_version_first(figures, version) for name, figures in measured.items()}


def _of_version_first(figures: Mapping[str, dict[str, float]], version: str) -> dict[str, Any]:
    others = {name: figure for name, figure in figures.items() if name != version}
    return {**figures.get(version, {}), **others}


def _counts_of(usage: ModelUsage) -> dict[str, float]:
    counts = _COUNTS[:1] if usage.uncounted_requests else _COUNTS
    return {count: float(getattr(usage, count)) for count in counts}


def _usage(used: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    models = used.values()
    known = [count for count in _COUNTS if models and all(count in model for model in models)]
    return {count: sum(model[count] for model in models) for count in known}


def _cost(models: Iterable[str], costs: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    bills = [costs.get(model, {}) for model in models]
    if not bills or not all(_priced(bill) for bill in bills):
        return {}
    totals = (total for bill in bills for name, total in bill.items() if name.endswith(_TOTAL))
    return {"total": sum(totals)}


def _priced(bill: Mapping[str, Any]) -> bool:
    # W&B bills a model without a price at 0, if another model of the call has one
    # (wandb/weave, weave/trace_server/token_costs.py).
    return any(bill.get(price) for price in _PRICES)


def _latency(rows: Sequence[Row]) -> dict[str, float]:
    seconds = [row.scores[LATENCY] for row in rows if LATENCY in row.scores]
    return _percentiles(seconds) if seconds else {}


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    values = np.percentile(seconds, _PERCENTILES)
    return {f"p{rank}": float(value) for rank, value in zip(_PERCENTILES, values, strict=True)}
