"""The five steps in order: download, rebuild, evaluate, weigh, promote."""

import weave

from application.rebuild import RebuiltModel, load_evaluation
from engine import Engine, ExternalEngine
from registry.calls import wandb_api
from registry.champions import PromotedVersion, champion_to_beat
from schemas.gates import Gate
from schemas.settings import Settings
from schemas.verdicts import Check, Evidence, Outcome, Verdict
from schemas.weighings import WeighingRecord
from worker.champion import EvaluatedChampion, evaluated_champion
from worker.context import ServedVersion, WeighingContext, report_progress, serve_version
from worker.evaluation import evaluate
from worker.promote import promote_exclusively, require_same_champion
from worker.publishing.publish import Predictions, publish_predictions, publish_verdict
from worker.recording import evaluation_run, record_template, weave_client
from worker.steps import StepClock
from worker.verdict.checks import (
    ITSELF,
    NO_CHAMPION,
    check_thresholds,
    decide_outcome,
    explain_outcome,
)
from worker.verdict.early_stop import EarlyVerdict
from worker.verdict.evidence import Evaluated


def weigh_version(
    record: WeighingRecord,
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
        return _weigh(WeighingContext(record, settings, engine, clock, client, run, api, together))


def _weigh(context: WeighingContext) -> Verdict:
    gate, version, clock = context.gate, context.record.id.version, context.clock
    evaluation = load_evaluation(gate.evaluation.uri, allow_stored_code=gate.allow_stored_code)
    champion = champion_to_beat(context.api, context.record) if gate.relative_thresholds else None
    compared = _compared_with(context, champion, evaluation)
    with serve_version(context, version, gate.rag_model, gate.chat_model, clock.step) as answers:
        record_template(context.run, answers.served.chat_template_digest)
        with (
            clock.step("evaluate"),
            report_progress(context, version, answers, evaluation) as telling,
        ):
            evaluated = _evaluate(context, answers, telling, compared)
    with clock.step("weigh"):
        checks = check_thresholds(
            gate, evaluated, compared and compared.evaluated, alone=_why_alone(champion)
        )
        findings = Predictions.of(gate, evaluated.rows, compared and compared.evaluated.rows)
        publish_predictions(context.client, context.run, gate, evaluated.evaluation, findings)
    verdict = Verdict(
        weighing=context.record.id,
        source=context.record.event.source,
        outcome=_decided(gate, checks),
        reason=explain_outcome(checks),
        gate_digest=gate.digest,
        checks=checks,
        evidence=_evidence(context, evaluated, answers.rebuilt, compared),
    )
    if verdict.outcome == "promoted":
        with clock.step("promote"):
            verdict = _promote(context, verdict, champion)
    clock.check()
    verdict = verdict.model_copy(update={"seconds": clock.seconds})
    return publish_verdict(
        context.client, context.run, context.api, gate, verdict, findings, context.settings
    )


def _compared_with(
    context: WeighingContext, champion: PromotedVersion | None, evaluation: weave.Evaluation
) -> EvaluatedChampion | None:
    """The champion with its rows, if a threshold asks for one and it is not the version itself."""
    gate = context.gate
    if champion is None or champion.is_of(gate, context.record.id.version):
        return None
    return evaluated_champion(context, champion, evaluation)


def _why_alone(champion: PromotedVersion | None) -> str:
    return ITSELF if champion else NO_CHAMPION


def _evaluate(
    context: WeighingContext,
    answers: ServedVersion,
    evaluation: weave.Evaluation,
    compared: EvaluatedChampion | None,
) -> Evaluated:
    gate, is_decided = context.gate, None
    if gate.early_stop:
        theirs = compared.evaluated.rows if compared else None
        is_decided = EarlyVerdict(gate, [dict(row) for row in evaluation.dataset.rows], theirs)
    return evaluate(
        context.client,
        context.run,
        evaluation,
        answers.rebuilt.model,
        concurrency=answers.concurrency,
        is_decided=is_decided,
        batch=gate.early_stop.batch if gate.early_stop else 0,
    )


def _decided(gate: Gate, checks: tuple[Check, ...]) -> Outcome:
    decided = decide_outcome(checks)
    return "awaiting approval" if decided == "promoted" and gate.approval else decided


def _evidence(
    context: WeighingContext,
    evaluated: Evaluated,
    rebuilt: RebuiltModel,
    compared: EvaluatedChampion | None,
) -> Evidence:
    return Evidence(
        weave_call=evaluated.call,
        weave_url=evaluated.url,
        run_url=context.run.url,
        rag_model=rebuilt.ref,
        evaluation=evaluated.evaluation,
        dataset=evaluated.dataset,
        rows=len(evaluated.rows),
        of_rows=evaluated.of_rows,
        champion=compared.evidence if compared else None,
    )


def _promote(
    context: WeighingContext, verdict: Verdict, champion: PromotedVersion | None
) -> Verdict:
    def agree(now: PromotedVersion | None) -> None:
        if context.gate.relative_thresholds:
            require_same_champion(context.gate, champion, now)

    promoted = promote_exclusively(
        context.run, context.api, context.record, verdict, agree, context.settings, context.clock
    )
    return verdict.model_copy(update={"promoted_ref": str(promoted)})
