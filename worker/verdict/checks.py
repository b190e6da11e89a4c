"""Step 4: check an evaluation against the gate's thresholds. Pure functions.

It fails closed: a metric that is missing, is not a finite number, or differs from what the rows
give never passes.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.errors import ConfigurationError, EvidenceError
from schemas.gates import Gate
from schemas.thresholds import RelativeThreshold, Threshold
from schemas.verdicts import Check, Outcome
from worker.verdict.comparison import compare, holds
from worker.verdict.evidence import Evaluated
from worker.verdict.row_metrics import mean, row_scores, sliced
from worker.verdict.statistics import TooFewRowsError

# Weave sums one by one, with a rounding error each time.
_TOLERANCE = 1e-9

# Notes are stored with each check, and `weighbridge weigh --from` compares them: a new wording of
# any note shows as a difference to earlier verdicts.
NO_CHAMPION = "There is no champion yet: the first version passes."
ITSELF = "This version is the champion itself."


def metrics(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Flatten an evaluation's summary into dotted paths.

    Args:
        summary: As Weave returns it, for example ``{"answer_correctness": {"mean": 0.8}}``.

    Returns:
        The numbers, for example ``{"answer_correctness.mean": 0.8}``; None for a value that is
        missing or not finite (NaN arrives as null:
        docs/upstream/weave-protocol.md, "Values that change on the way").
    """
    return dict(_flatten("", summary))


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, float | None]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    elif value is None:
        yield prefix, None
    elif isinstance(value, int | float):
        yield prefix, float(value) if math.isfinite(value) else None


def check_thresholds(
    gate: Gate,
    candidate: Evaluated,
    champion: Evaluated | None = None,
    *,
    no_champion: str = NO_CHAMPION,
) -> tuple[Check, ...]:
    """Check every threshold of the gate.

    Args:
        candidate: The version's evaluation.
        champion: The champion's, with the same rows; None if there is none to compare with.
        no_champion: Why there is none; relative thresholds pass with this note.

    Returns:
        One check per threshold, in the gate's order.

    Raises:
        ConfigurationError: The gate names a metric, a slice or a column that does not exist.
        EvidenceError: A row lacks a score that the gate names, or the summary differs from what
            the rows give.
    """
    measured = metrics(candidate.summary)
    missing = [one.metric for one in gate.thresholds if not _is_measured(one.metric, measured)]
    if missing:
        raise ConfigurationError(
            f"Gate '{gate.name}' has a threshold on {', '.join(missing)}, which the evaluation did"
            f" not measure; it has {', '.join(sorted(measured)) or 'no metric'}.",
            fix="Name one of these in the gate file.",
        )
    values = [measured.get(one.metric) for one in gate.thresholds]
    return tuple(
        _check(one, value, candidate, champion or no_champion)
        for one, value in zip(gate.thresholds, values, strict=True)
    )


def _is_measured(metric: str, measured: Mapping[str, float | None]) -> bool:
    """Whether the summary has the metric, or would have it if a score had not been missing."""
    parts = metric.split(".")
    above = (".".join(parts[:count]) for count in range(1, len(parts)))
    return metric in measured or any(one in measured for one in above)


def _check(
    threshold: Threshold, summarised: float | None, candidate: Evaluated, champion: Evaluated | str
) -> Check:
    """Check one threshold; where there is no champion, ``champion`` says why."""
    rows = sliced(candidate.rows, threshold.slice)
    value = _recomputed(threshold, summarised, candidate)
    if value is None:
        return Check(threshold=threshold, value=None, passed=False)
    if threshold.min_rows is not None and len(rows) < threshold.min_rows:
        note = f"{len(rows)} rows are fewer than the {threshold.min_rows} that it takes"
        return Check(threshold=threshold, value=value, passed=False, decidable=False, note=note)
    if isinstance(threshold, RelativeThreshold):
        return _compared(threshold, value, candidate, champion)
    return Check(threshold=threshold, value=value, passed=threshold.holds(value))


def _recomputed(
    threshold: Threshold, summarised: float | None, candidate: Evaluated
) -> float | None:
    """The metric computed from the rows of the slice; from the summary if it is no mean over rows.

    Raises:
        EvidenceError: Rows and summary differ.
    """
    scores = row_scores(candidate.rows, threshold.metric)
    if scores is None or summarised is None:
        if threshold.slice:
            raise ConfigurationError(
                f"{threshold.metric} is no mean over rows, so it has no slices.",
                fix="Name a scorer's mean or true_fraction, or model_latency.mean.",
            )
        return summarised
    whole = mean(scores)
    if not math.isclose(whole, summarised, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
        raise EvidenceError(
            f"The rows of evaluation call {candidate.call} give {threshold.metric} as {whole:.6g},"
            f" Weave's summary as {summarised:.6g}."
        )
    if not threshold.slice:
        return whole
    return mean(row_scores(sliced(candidate.rows, threshold.slice), threshold.metric) or [])


def _compared(
    threshold: RelativeThreshold, value: float, candidate: Evaluated, champion: Evaluated | str
) -> Check:
    if isinstance(champion, str):
        return Check(threshold=threshold, value=value, passed=True, note=champion)
    try:
        comparison = compare(threshold, candidate.rows, champion.rows)
    except TooFewRowsError as error:
        return Check(
            threshold=threshold, value=value, passed=False, decidable=False, note=str(error)
        )
    too_coarse = threshold.detectable is not None and comparison.detectable > threshold.detectable
    return Check(
        threshold=threshold,
        value=value,
        passed=holds(threshold, comparison) and not too_coarse,
        comparison=comparison,
        decidable=not too_coarse,
        note=_undetectable(threshold, comparison.detectable) if too_coarse else "",
    )


def _undetectable(threshold: RelativeThreshold, detectable: float) -> str:
    return (
        f"these rows could show a difference of {detectable:.3g} at best, not of the"
        f" {threshold.detectable:g} that the gate demands"
    )


def decide_outcome(checks: tuple[Check, ...]) -> Outcome:
    """The outcome before any approval: ``failed`` when a value is missing or undecidable."""
    if any(check.value is None or not check.decidable for check in checks):
        return "failed"
    return "promoted" if all(check.passed for check in checks) else "rejected"


def explain_outcome(checks: tuple[Check, ...]) -> str:
    """Explain the outcome of the checks in one sentence."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        notes = {check.note for check in checks} & {NO_CHAMPION, ITSELF}
        return " ".join([f"All {len(checks)} thresholds hold.", *notes])
    faults = "; ".join(_fault(check) for check in failed)
    return f"{len(failed)} of {len(checks)} thresholds failed: {faults}."


def _fault(check: Check) -> str:
    label = check.threshold.label
    if check.value is None:
        return f"{label} is missing, not {check.threshold}"
    if not check.decidable:
        return f"{label}: {check.note}"
    if check.comparison is None:
        return f"{label} is {check.value:.4g}, not {check.threshold}"
    low, high = check.comparison.interval
    return (
        f"{label} is {check.value:.4g}, which is not {check.threshold}: the champion has"
        f" {check.comparison.champion:.4g}, the difference is"
        f" {check.comparison.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
    )
