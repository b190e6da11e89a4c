"""Applies an operator's decision about a version that awaited approval: nothing runs again."""

from weave.trace.weave_client import WeaveClient

from registry.champions import PromotedVersion
from schemas.errors import ConfigurationError, InternalError
from schemas.gates import Gate
from schemas.settings import Settings
from schemas.verdicts import Decision, Evidence, Outcome, Verdict
from schemas.weighings import WeighingRecord
from worker.champion import recorded_champion
from worker.promote import ChampionCheck, promote_exclusively
from worker.publishing.publish import Predictions, publish_verdict
from worker.recording import open_recording, weave_client
from worker.steps import StepClock
from worker.verdict.evidence import read_back


def apply_decision(record: WeighingRecord, settings: Settings, clock: StepClock) -> Verdict:
    """Promote or reject a version, by its stored evidence.

    Args:
        record: A weighing with a decision and the verdict that it is about.

    Returns:
        The final verdict, with the decision.

    Raises:
        ConfigurationError: It was approved over a version that is no longer the champion.
        PlatformError: W&B did not answer, or the evidence was deleted.
    """
    verdict, decision, gate = record.verdict, record.decision, record.gate
    if verdict is None or verdict.evidence is None or decision is None:
        raise InternalError(f"{record.id} has a decision about no verdict.")
    evidence = verdict.evidence
    # Before the run is resumed, which would end as failed without them.
    predictions = _predictions(weave_client(gate), gate, evidence)
    verdict = _decided(verdict, decision)
    with open_recording(record, settings, resume=evidence) as (client, run, api):
        if decision.approved:
            check = _champion_check(gate, verdict, evidence)
            with clock.step("promote"):
                promoted = promote_exclusively(run, api, record, verdict, check, settings, clock)
                verdict = verdict.model_copy(update={"promoted_ref": str(promoted)})
        clock.check()
        seconds = verdict.seconds.model_copy(update={"promote": clock.seconds.promote})
        verdict = verdict.model_copy(update={"seconds": seconds})
        return publish_verdict(client, run, api, gate, verdict, predictions, settings)


def _predictions(client: WeaveClient, gate: Gate, evidence: Evidence) -> Predictions:
    rows = read_back(client, evidence.weave_call).rows
    champion = recorded_champion(client, evidence.champion) if evidence.champion else None
    return Predictions.of(gate, rows, champion and champion.evaluated.rows)


def _decided(verdict: Verdict, decision: Decision) -> Verdict:
    outcome: Outcome = "promoted" if decision.approved else "rejected"
    text = str(decision).rstrip(".")
    reason = f"{text[0].upper()}{text[1:]}."
    return verdict.model_copy(update={"outcome": outcome, "reason": reason, "decision": decision})


def _champion_check(gate: Gate, verdict: Verdict, evidence: Evidence) -> ChampionCheck:
    def check(current: PromotedVersion | None) -> None:
        # After an interrupted promotion the version is already the champion.
        is_promoted = current and current.is_of(gate, verdict.weighing.version)
        if gate.relative_thresholds and not is_promoted:
            _require_same_champion(gate, evidence, current)

    return check


def _require_same_champion(gate: Gate, evidence: Evidence, current: PromotedVersion | None) -> None:
    """A comparison with another champion says nothing about this one."""
    compared = evidence.champion.version if evidence.champion else None
    if compared != (current and current.ref):
        raise ConfigurationError(
            f"It was compared with {compared or 'no champion'}, and the champion of gate"
            f" '{gate.name}' is {current.ref if current else 'no version'} now.",
            fix="Weigh it again: weighbridge enqueue REF --force.",
        )
