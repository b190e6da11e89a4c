"""The five steps in order: download, rebuild, evaluate, weigh, promote."""

import weave

from application.rebuild import RebuiltModel, load_evaluation
from engine import Engine, ExternalEngine
from registry.calls import wandb_api
from registry.champions import PromotedVersion, champion_to_beat
from schemas.gates import Gate
from schemas.settings import Settings
from schemas.verdicts import Check, Evidence, Outcome, Verdict
from schemas.weighings import Weighing
from worker.champion import Champion, weighed_champion
from worker.context import Answering, Workplace, answering, asked
from worker.evaluation import evaluate
from worker.promote import promote_in_turn, require_same_champion
from worker.publishing.publish import Findings, announce, log_findings
from worker.recording import evaluation_run, record_template, weave_client
from worker.steps import StepClock
from worker.verdict.checks import ITSELF, NO_CHAMPION, outcome, sentence, weigh
from worker.verdict.early_stop import EarlyVerdict
from worker.verdict.evidence import Evaluated


def weigh_version(
    record: Weighing,
    settings: Settings,
    engine: Engine | ExternalEngine,
    clock: StepClock,
    *,
    together: bool = False,
) -> Verdict:
    """Weigh one version under one gate, and promote it when every threshold holds.

    Nothing in the Registry changes unless the last step is reached.

    Args:
        record: the weighing, with the gate as it was when it was opened.
        engine: serves the version; it may be serving another one now.
        clock: times the steps and tells the ledger.
        together: other versions wait; the engine may serve several at once.

    Returns:
        A verdict; `failed` only when a metric has no value or the rows do not suffice.

    Raises:
        ConfigurationError: the gate names something that does not exist.
        ArtifactError: the version cannot be weighed.
        PlatformError: W&B or the engine failed, or the evidence is incomplete; worth another
            attempt.
        LeaseLostError: another worker has the weighing.
    """
    client = weave_client(record.gate)
    api = wandb_api(settings.wandb_timeout)
    with evaluation_run(record, settings) as run:
        return _weigh(Workplace(record, settings, engine, clock, client, run, api, together))


def _weigh(place: Workplace) -> Verdict:
    gate, version, clock = place.gate, place.record.id.version, place.clock
    evaluation = load_evaluation(gate.evaluation, allow_stored_code=gate.allow_stored_code)
    holder = champion_to_beat(place.api, place.record) if gate.relative else None
    compared = _compared_with(place, holder, evaluation)
    with answering(place, version, gate.rag_model, gate.chat_model, clock.step) as answers:
        record_template(place.run, answers.served.chat_template_digest)
        with clock.step("evaluate"), asked(place, version, answers, evaluation) as telling:
            evaluated = _evaluate(place, answers, telling, compared)
    with clock.step("weigh"):
        checks = weigh(gate, evaluated, compared and compared.evaluated, alone=_why_alone(holder))
        findings = Findings.of(gate, evaluated.rows, compared and compared.evaluated.rows)
        log_findings(place.client, place.run, gate, evaluated.evaluation, findings)
    verdict = Verdict(
        weighing=place.record.id,
        source=place.record.event.source,
        outcome=_decided(gate, checks),
        reason=sentence(checks),
        gate_digest=gate.digest,
        checks=checks,
        evidence=_evidence(place, evaluated, answers.rebuilt, compared),
    )
    if verdict.outcome == "promoted":
        with clock.step("promote"):
            verdict = _promote(place, verdict, holder)
    clock.check()
    verdict = verdict.model_copy(update={"seconds": clock.seconds})
    return announce(place.client, place.run, place.api, gate, verdict, findings, place.settings)


def _compared_with(
    place: Workplace, holder: PromotedVersion | None, evaluation: weave.Evaluation
) -> Champion | None:
    """The champion with its rows, if a threshold asks for one and it is not the version itself."""
    gate = place.gate
    if holder is None or holder.is_of(gate, place.record.id.version):
        return None
    return weighed_champion(place, holder, evaluation)


def _why_alone(holder: PromotedVersion | None) -> str:
    return ITSELF if holder else NO_CHAMPION


def _evaluate(
    place: Workplace,
    answers: Answering,
    evaluation: weave.Evaluation,
    compared: Champion | None,
) -> Evaluated:
    gate, is_decided = place.gate, None
    if gate.early_stop:
        theirs = compared.evaluated.rows if compared else None
        is_decided = EarlyVerdict(gate, [dict(row) for row in evaluation.dataset.rows], theirs)
    return evaluate(
        place.client,
        place.run,
        evaluation,
        answers.rebuilt.model,
        concurrency=answers.concurrency,
        is_decided=is_decided,
        batch=gate.early_stop.batch if gate.early_stop else 0,
    )


def _decided(gate: Gate, checks: tuple[Check, ...]) -> Outcome:
    decided = outcome(checks)
    return "awaiting approval" if decided == "promoted" and gate.approval else decided


def _evidence(
    place: Workplace, evaluated: Evaluated, rebuilt: RebuiltModel, compared: Champion | None
) -> Evidence:
    return Evidence(
        weave_call=evaluated.call,
        weave_url=evaluated.url,
        run_url=place.run.url,
        rag_model=rebuilt.ref.uri,
        evaluation=evaluated.evaluation,
        dataset=evaluated.dataset,
        rows=len(evaluated.rows),
        of_rows=evaluated.of_rows,
        champion=compared.evidence if compared else None,
    )


def _promote(place: Workplace, verdict: Verdict, holder: PromotedVersion | None) -> Verdict:
    def agree(now: PromotedVersion | None) -> None:
        if place.gate.relative:
            require_same_champion(place.gate, holder, now)

    promoted = promote_in_turn(
        place.run, place.api, place.record, verdict, agree, place.settings, place.clock
    )
    return verdict.model_copy(update={"promoted_ref": str(promoted)})
