"""A verdict once more, from the evidence in Weave alone: no model runs, nothing is written."""

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
        stored: the verdict that was recorded.
        checks: as they come out now.
        outcome: of these checks, before any person decides.
        reason: one sentence that says why.
        differing: what is not as it was stored, a sentence each; empty when the two are equal.
    """

    model_config = ConfigDict(frozen=True)

    stored: Verdict
    checks: tuple[Check, ...]
    outcome: Outcome
    reason: str
    differing: list[str]


def reweigh(client: WeaveClient, call_id: str, gate: Gate) -> Reweighed:
    """Weigh an evaluation that was weighed before, by the gate as it is now.

    The champion is the one that the stored verdict was reached with.

    Args:
        client: of the project that the evaluation's call is in.
        call_id: id of the evaluation's root call.

    Raises:
        ConfigurationError: the call is of no evaluation, no verdict was recorded on it, or the
            gate asks for what was not measured.
        EvidenceError: the evidence is not whole any more.
    """
    evaluated = read_back(client, call_id, looks=())
    stored = recorded_verdict(client, call_id)
    if stored is None or stored.evidence is None:
        raise ConfigurationError(
            f"No verdict was recorded on evaluation call {call_id}.",
            fix="Weigh the version: weighbridge enqueue REF.",
        )
    champion = _champion(client, gate, stored, stored.evidence.champion)
    itself = any(check.note == ITSELF for check in stored.checks)
    checks = check_thresholds(gate, evaluated, champion, alone=ITSELF if itself else NO_CHAMPION)
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
    # A gate without relative thresholds did not look whether there was one.
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
    gone = [f"{_name(one)}: no longer in the gate" for key, one in before.items() if key not in now]
    new = [f"{_name(one)}: new in the gate" for key, one in now.items() if key not in before]
    changed = [
        f"{_name(one)}: was {_said(before[key])}, is {_said(one)}"
        for key, one in now.items()
        if key in before and one != before[key]
    ]
    return [*gone, *new, *changed]


def _name(check: Check) -> str:
    return f"{check.threshold.label} {check.threshold}"


def _said(check: Check) -> str:
    value = "missing" if check.value is None else f"{check.value:.6g}"
    interval = check.comparison.interval if check.comparison else ()
    beside = "".join(f" {end:+.6g}" for end in interval)
    return f"{value}{beside} ({'passed' if check.passed else 'failed'})"
