"""Step 4: hold what was measured against the gate's thresholds. Pure functions.

It fails closed: a metric that is missing, is not a finite number, or is not what the rows say never
passes.
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

# Weave adds up with the rounding of each step.
_SAME = 1e-9

NO_CHAMPION = "There is no champion yet: the first version passes."
ITSELF = "This version is the champion itself."


def metrics(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Flatten an evaluation's summary into dotted paths.

    Args:
        summary: as Weave returns it, for example `{"answer_correctness": {"mean": 0.8}}`.

    Returns:
        The numbers, for example `{"answer_correctness.mean": 0.8}`; None for a value that is
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
    alone: str = NO_CHAMPION,
) -> tuple[Check, ...]:
    """Check every threshold of the gate.

    Args:
        candidate: the version's evaluation.
        champion: the champion's, with the same rows; None if there is none to compare with.
        alone: why there is none; relative thresholds pass and say so.

    Returns:
        One check per threshold, in the gate's order.

    Raises:
        ConfigurationError: the gate names a metric, a slice or a column that is not there.
        EvidenceError: a row lacks a score that the gate names, or the summary is not what the
            rows say.
    """
    measured = metrics(candidate.summary)
    missing = [one.metric for one in gate.thresholds if not _is_measured(one.metric, measured)]
    if missing:
        raise ConfigurationError(
            f"Gate '{gate.name}' asks for {', '.join(missing)}, which the evaluation did not"
            f" measure; it has {', '.join(sorted(measured)) or 'no metric'}.",
            fix="Name one of these in the gate file.",
        )
    values = [measured.get(one.metric) for one in gate.thresholds]
    return tuple(
        _check(one, value, candidate, champion or alone)
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
    rows = sliced(candidate.rows, threshold.slice)
    value = _recomputed(threshold, summarised, candidate)
    if value is None:
        return Check(threshold=threshold, value=None, passed=False)
    if threshold.min_rows is not None and len(rows) < threshold.min_rows:
        few = f"{len(rows)} rows are fewer than the {threshold.min_rows} that it takes"
        return Check(threshold=threshold, value=value, passed=False, decidable=False, note=few)
    if isinstance(threshold, RelativeThreshold):
        return _beside(threshold, value, candidate, champion)
    return Check(threshold=threshold, value=value, passed=threshold.holds(value))


def _recomputed(
    threshold: Threshold, summarised: float | None, candidate: Evaluated
) -> float | None:
    """The metric by the rows, on the threshold's slice; by the summary where rows say nothing.

    Raises:
        EvidenceError: rows and summary do not agree.
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
    if not math.isclose(whole, summarised, rel_tol=_SAME, abs_tol=_SAME):
        raise EvidenceError(
            f"The rows of evaluation call {candidate.call} give {threshold.metric} as {whole:.6g},"
            f" Weave's summary as {summarised:.6g}."
        )
    if not threshold.slice:
        return whole
    return mean(row_scores(sliced(candidate.rows, threshold.slice), threshold.metric) or [])


def _beside(
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
    coarse = threshold.detectable is not None and comparison.detectable > threshold.detectable
    return Check(
        threshold=threshold,
        value=value,
        passed=holds(threshold, comparison) and not coarse,
        comparison=comparison,
        decidable=not coarse,
        note=_too_coarse(threshold, comparison.detectable) if coarse else "",
    )


def _too_coarse(threshold: RelativeThreshold, detectable: float) -> str:
    return (
        f"these rows could show a difference of {detectable:.3g} at best, not of the"
        f" {threshold.detectable:g} that the gate demands"
    )


def decide_outcome(checks: tuple[Check, ...]) -> Outcome:
    """What becomes of the version: a value that is missing allows no verdict at all."""
    if any(check.value is None or not check.decidable for check in checks):
        return "failed"
    return "promoted" if all(check.passed for check in checks) else "rejected"


def explain_outcome(checks: tuple[Check, ...]) -> str:
    """Why the checks lead to their outcome, in one sentence."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        alone = {check.note for check in checks} & {NO_CHAMPION, ITSELF}
        return " ".join([f"All {len(checks)} thresholds hold.", *alone])
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
