"""The outcome of a rehearsal: one table, the links, and ``verdicts.json``."""

import json
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.thresholds import RelativeThreshold, Threshold
from schemas.verdicts import Check, Outcome, Step, Verdict

_COLOURS: dict[Outcome, str] = {
    "promoted": "green",
    "rejected": "yellow",
    "failed": "red",
    "awaiting approval": "cyan",
}


def record(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as ``verdicts.json`` stores it."""
    evidence = verdict.evidence
    return {
        "version": str(verdict.weighing.version),
        "verdict": verdict.outcome,
        "reason": verdict.reason,
        "source": verdict.source,
        "checks": [_check(check) for check in verdict.checks],
        "weave_call": evidence.weave_call if evidence else None,
        "weave_url": evidence.weave_url if evidence else None,
        "run_url": evidence.run_url if evidence else None,
        "rag_model": str(evidence.rag_model) if evidence else None,
        "champion": str(evidence.champion.version) if evidence and evidence.champion else None,
        "promoted_ref": verdict.promoted_ref,
        "report": verdict.report,
        "seconds": verdict.seconds.model_dump(),
    }


def _check(check: Check) -> dict[str, Any]:
    bound = check.threshold.model_dump(exclude={"metric"}, exclude_defaults=True)
    record = {
        "metric": check.metric,
        "value": check.value,
        "threshold": bound,
        "passed": check.passed,
        "note": check.note,
    }
    if check.comparison is None:
        return record
    beside = check.comparison
    return record | {
        "champion": beside.champion,
        "difference": beside.difference,
        "interval": list(beside.interval),
        "detectable": beside.detectable,
    }


def write(verdicts: list[Verdict], path: Path) -> None:
    """Write the verdicts as JSON, in the given order."""
    path.write_text(json.dumps([record(verdict) for verdict in verdicts], indent=2) + "\n")


def show(verdicts: list[Verdict], console: Console) -> None:
    """Print the table, then the reason and the links of each version."""
    console.print(_table(verdicts))
    for verdict in verdicts:
        name = f"{verdict.weighing.version.collection}:v{verdict.weighing.number}"
        console.print(f"[bold]{name}[/]  {escape(verdict.reason)}")
        if verdict.evidence:
            console.print(f"  run         {verdict.evidence.run_url}")
            console.print(f"  evaluation  {verdict.evidence.weave_url}")
        if verdict.promoted_ref:
            console.print(f"  promoted    {verdict.promoted_ref}")
        if verdict.report:
            console.print(f"  report      {verdict.report}")


def _table(verdicts: list[Verdict]) -> Table:
    """Return the table, with one column for each version so that versions can be compared."""
    table = Table()
    checks = next((verdict.checks for verdict in verdicts if verdict.checks), ())
    # A narrow terminal would cut a metric's name, which cannot be wrapped.
    table.add_column(min_width=max((len(check.metric) for check in checks), default=0))
    for verdict in verdicts:
        table.add_column(f"v{verdict.weighing.number}", justify="right")
    table.add_row("found by", *(verdict.source for verdict in verdicts))
    table.add_row("verdict", *(_coloured(verdict.outcome) for verdict in verdicts))
    table.add_section()
    for check in checks:
        values = (_value(verdict, check.threshold) for verdict in verdicts)
        table.add_row(f"{check.threshold.label} {check.threshold}", *values)
    table.add_section()
    for step in get_args(Step):
        seconds = (f"{getattr(verdict.seconds, step):.1f} s" for verdict in verdicts)
        table.add_row(step, *seconds)
    return table


def _coloured(outcome: Outcome) -> str:
    return f"[{_COLOURS[outcome]}]{outcome}[/]"


def _value(verdict: Verdict, threshold: Threshold) -> str:
    for check in verdict.checks:
        if check.threshold == threshold and check.value is not None:
            text = _shown(check, check.value)
            return text if check.passed else f"[red]✗ {text}[/]"
    return "-"


def _shown(check: Check, value: float) -> str:
    """The value, or what it differs from the champion's by."""
    if not isinstance(check.threshold, RelativeThreshold):
        return f"{value:.3f}"
    if check.comparison is None:
        return "no champion"
    low, high = check.comparison.interval
    return escape(f"{check.comparison.difference:+.3f}\n[{low:+.3f}, {high:+.3f}]")
