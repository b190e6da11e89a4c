"""Step 4: hold the measured metrics against the gate's thresholds. A pure function.

It fails closed: a metric that is missing or is not a finite number never passes.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.errors import ConfigurationError
from schemas.gates import Gate, Threshold
from schemas.verdicts import Check, Outcome


def metrics(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Flatten an evaluation's summary into dotted paths.

    Args:
        summary: as Weave returns it, for example `{"answer_correctness": {"mean": 0.8}}`.

    Returns:
        The numbers, for example `{"answer_correctness.mean": 0.8}`; None for a value that is
        missing or not finite (NaN arrives as null, facts/weave-protocol.md 6.9).
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


def weigh(gate: Gate, measured: Mapping[str, float | None]) -> tuple[Check, ...]:
    """Check every threshold of the gate.

    Args:
        measured: the metrics by dotted path.

    Returns:
        One check per threshold, in the gate's order.

    Raises:
        ConfigurationError: the gate names a metric that this evaluation does not have.
    """
    missing = [t.metric for t in gate.thresholds if t.metric not in measured]
    if missing:
        raise ConfigurationError(
            f"Gate '{gate.name}' asks for {', '.join(missing)}, which the evaluation did not"
            f" measure; it has {', '.join(sorted(measured)) or 'no metric'}.",
            fix="Name one of these in the gate file.",
        )
    return tuple(_check(threshold, measured[threshold.metric]) for threshold in gate.thresholds)


def _check(threshold: Threshold, value: float | None) -> Check:
    passed = value is not None and threshold.holds(value)
    return Check(threshold=threshold, value=value, passed=passed)


def outcome(checks: tuple[Check, ...]) -> Outcome:
    """What becomes of the version: a value that is missing allows no verdict at all."""
    if any(check.value is None for check in checks):
        return "failed"
    return "promoted" if all(check.passed for check in checks) else "rejected"


def sentence(checks: tuple[Check, ...]) -> str:
    """Why the checks lead to their outcome, in one sentence."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        return f"All {len(checks)} thresholds hold."
    faults = "; ".join(
        f"{c.metric} is {'missing' if c.value is None else f'{c.value:.4g}'}, not {c.threshold}"
        for c in failed
    )
    return f"{len(failed)} of {len(checks)} thresholds failed: {faults}."
