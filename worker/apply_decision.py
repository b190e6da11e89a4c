"""Carries out what a person decided about a version that awaited approval: nothing runs again."""

from weave.trace.weave_client import WeaveClient

from registry.calls import wandb_api
from registry.champions import PromotedVersion
from schemas.errors import ConfigurationError, InternalError
from schemas.gates import Gate
from schemas.settings import Settings
from schemas.verdicts import Decision, Evidence, Outcome, Verdict
from schemas.weighings import WeighingRecord
from worker.champion import recorded_champion
from worker.promote import ChampionCheck, promote_exclusively
from worker.publishing.publish import Predictions, publish_verdict
from worker.recording import evaluation_run, weave_client
from worker.steps import StepClock
from worker.verdict.evidence import read_back


def apply_decision(record: WeighingRecord, settings: Settings, clock: StepClock) -> Verdict:
    """Promote or reject a version, by its stored evidence.

    Args:
        record: a weighing with a decision and the verdict that it is about.

    Returns:
        The final verdict, with the decision.

    Raises:
        ConfigurationError: it was approved over a champion that is not the champion any more.
        PlatformError: W&B did not answer, or the evidence is gone.
    """
    verdict, decision, gate = record.verdict, record.decision, record.gate
    if verdict is None or verdict.evidence is None or decision is None:
        raise InternalError(f"{record.id} has a decision about no verdict.")
    evidence = verdict.evidence
    client, api = weave_client(gate), wandb_api(settings.wandb_timeout)
    findings = _findings(client, gate, evidence)
    verdict = _decided(verdict, decision)
    with evaluation_run(record, settings, of=evidence) as run:
        if decision.approved:
            with clock.step("promote"):
                promoted = promote_exclusively(
                    run, api, record, verdict, _agree(gate, verdict, evidence), settings, clock
                )
                verdict = verdict.model_copy(update={"promoted_ref": str(promoted)})
        clock.check()
        seconds = verdict.seconds.model_copy(update={"promote": clock.seconds.promote})
        verdict = verdict.model_copy(update={"seconds": seconds})
        return publish_verdict(client, run, api, gate, verdict, findings, settings)


def _findings(client: WeaveClient, gate: Gate, evidence: Evidence) -> Predictions:
    rows = read_back(client, evidence.weave_call).rows
    compared = recorded_champion(client, evidence.champion) if evidence.champion else None
    return Predictions.of(gate, rows, compared and compared.evaluated.rows)


def _decided(verdict: Verdict, decision: Decision) -> Verdict:
    outcome: Outcome = "promoted" if decision.approved else "rejected"
    said = str(decision).rstrip(".")
    reason = f"{said[0].upper()}{said[1:]}."
    return verdict.model_copy(update={"outcome": outcome, "reason": reason, "decision": decision})


def _agree(gate: Gate, verdict: Verdict, evidence: Evidence) -> ChampionCheck:
    def agree(now: PromotedVersion | None) -> None:
        # Whose promotion was cut short is the champion by now.
        if gate.relative_thresholds and not (now and now.is_of(gate, verdict.weighing.version)):
            _require_same_champion(gate, evidence, now)

    return agree


def _require_same_champion(gate: Gate, evidence: Evidence, now: PromotedVersion | None) -> None:
    """What was compared with another champion says nothing about this one."""
    was = evidence.champion.version if evidence.champion else None
    if was != (now and now.ref):
        raise ConfigurationError(
            f"It was compared with {was or 'no champion'}, and the champion of gate '{gate.name}'"
            f" is {now.ref if now else 'nobody'} now.",
            fix="Weigh it again: weighbridge enqueue REF --force.",
        )
