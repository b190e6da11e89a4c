"""Reaches a verdict again from the evidence in Weave: no model runs, nothing is written."""

from pydantic import BaseModel, ConfigDict
from weave.trace.weave_client import WeaveClient

from schemas.errors import ConfigurationError
from schemas.gates import Gate
from schemas.thresholds import RelativeThreshold
from schemas.verdicts import ChampionEvidence, Check, Outcome, Verdict
from worker.champion import recorded_champion
from worker.publishing import recorded_verdict
from worker.verdict.checks import (
    ITSELF,
    NO_CHAMPION,
    check_thresholds,
    decide_outcome,
    explain_outcome,
)
from worker.verdict.evidence import Evaluated, read_back


class Reweighed(BaseModel):
    """A verdict that was reached again.

    Attributes:
        stored: The verdict that was recorded.
        checks: The checks by the gate as it is now.
        outcome: Outcome of these checks, before any approval.
        reason: One sentence that explains the outcome.
        differing: A sentence for each check that differs from the stored one.
    """

    model_config = ConfigDict(frozen=True)

    stored: Verdict
    checks: tuple[Check, ...]
    outcome: Outcome
    reason: str
    differing: list[str]


def reweigh(client: WeaveClient, call_id: str, gate: Gate) -> Reweighed:
    """Check a stored evaluation again, by the gate as it is now.

    The champion is the one that the stored verdict was reached with.

    Args:
        client: Client of the project that holds the evaluation's call.
        call_id: Id of the evaluation's root call.

    Raises:
        ConfigurationError: The call is not of an evaluation, no verdict was recorded on it, or the
            gate names a metric that it does not have.
        EvidenceError: The evidence is no longer complete.
    """
    evaluated = read_back(client, call_id, waits=())
    stored = recorded_verdict(client, call_id)
    if stored is None or stored.evidence is None:
        raise ConfigurationError(
            f"No verdict was recorded on evaluation call {call_id}.",
            fix="Weigh the version: weighbridge enqueue REF.",
        )
    evaluated = evaluated.with_measured(stored.evidence.measured)
    champion = _champion(client, gate, stored, stored.evidence.champion)
    is_itself = any(check.note == ITSELF for check in stored.checks)
    checks = check_thresholds(
        gate, evaluated, champion, no_champion=ITSELF if is_itself else NO_CHAMPION
    )
    return Reweighed(
        stored=stored,
        checks=checks,
        outcome=decide_outcome(checks),
        reason=explain_outcome(checks),
        differing=_differing(stored, checks),
    )


def _champion(
    client: WeaveClient, gate: Gate, stored: Verdict, evidence: ChampionEvidence | None
) -> Evaluated | None:
    if evidence:
        return recorded_champion(client, evidence).evaluated
    # Without relative thresholds the stored verdict does not say whether there was a champion.
    if gate.relative_thresholds and not any(
        isinstance(one.threshold, RelativeThreshold) for one in stored.checks
    ):
        raise ConfigurationError(
            f"Gate '{gate.name}' compares with the champion now, and the verdict on"
            f" {stored.weighing.version} was reached without.",
            fix="Weigh the version again: weighbridge enqueue REF --force.",
        )
    return None


def _differing(stored: Verdict, checks: tuple[Check, ...]) -> list[str]:
    before = {str(check.threshold.model_dump()): check for check in stored.checks}
    now = {str(check.threshold.model_dump()): check for check in checks}
    removed = [
        f"{_name(one)}: no longer in the gate" for key, one in before.items() if key not in now
    ]
    added = [f"{_name(one)}: new in the gate" for key, one in now.items() if key not in before]
    changed = [
        f"{_name(one)}: was {_result(before[key])}, is {_result(one)}"
        for key, one in now.items()
        if key in before and one != before[key]
    ]
    return [*removed, *added, *changed]


def _name(check: Check) -> str:
    return f"{check.threshold.label} {check.threshold}"


def _result(check: Check) -> str:
    value = "missing" if check.value is None else f"{check.value:.6g}"
    interval = check.comparison.interval if check.comparison else ()
    ends = "".join(f" {end:+.6g}" for end in interval)
    return f"{value}{ends} ({'passed' if check.passed else 'failed'})"
