"""The steps of a weighing in order: download, rebuild, evaluate, decide, promote."""

from contextlib import ExitStack

from application.exchange import Exchanged
from application.rebuild import RebuiltModel
from engine import Engine, ExternalEngine
from registry.champions import PromotedVersion, champion_to_beat
from schemas.gates import Gate
from schemas.settings import Settings
from schemas.verdicts import Check, Evidence, Outcome, Verdict
from schemas.weighings import WeighingRecord
from worker.applications.evaluate import ApplicationRuns
from worker.champion import EvaluatedChampion, evaluate_champion
from worker.context import ServedVersion, WeighingContext, serve_version
from worker.evaluation import evaluate_version
from worker.promote import promote_exclusively, require_same_champion
from worker.published_evaluation import PublishedEvaluation, published_evaluation
from worker.publishing.publish import Predictions, publish_predictions, publish_verdict
from worker.recording import open_recording, record_template
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
        record: The weighing, with the gate as of its opening.
        engine: Serves the version; it may be serving another one now.
        clock: Times the steps and reports them to the ledger.
        together: Whether other versions wait, so that the engine may serve several at once.

    Returns:
        A verdict; ``failed`` only when a metric has no value or the rows do not suffice.

    Raises:
        ConfigurationError: The gate names something that does not exist.
        ArtifactError: The version cannot be weighed.
        PlatformError: W&B or the engine failed, or the evidence is incomplete; worth another
            attempt.
        LeaseLostError: Another worker has the weighing.
    """
    with open_recording(record, settings) as recording, ExitStack() as stack:
        runs = None
        if application := record.gate.application:
            runs = stack.enter_context(
                ApplicationRuns(application, record, settings, clock, recording)
            )
        return _weigh(WeighingContext(record, settings, engine, clock, recording, together, runs))


def _weigh(context: WeighingContext) -> Verdict:
    gate, clock = context.gate, context.clock
    client, run, api = context.recording
    evaluation = published_evaluation(gate)
    to_beat = champion_to_beat(api, context.record) if gate.relative_thresholds else None
    champion = _evaluate_champion(context, to_beat, evaluation)
    candidate, rebuilt = _evaluate_candidate(context, champion, evaluation)
    with clock.step("weigh"):
        checks = check_thresholds(
            gate,
            candidate,
            champion and champion.evaluated,
            no_champion=ITSELF if to_beat else NO_CHAMPION,
        )
        champion_rows = champion and champion.evaluated.rows
        predictions = Predictions.of(gate, candidate.rows, champion_rows)
        publish_predictions(client, run, gate, candidate.evaluation, predictions)
    verdict = Verdict(
        weighing=context.record.id,
        source=context.record.event.source,
        outcome=_outcome(gate, checks),
        reason=explain_outcome(checks),
        gate_digest=gate.digest,
        checks=checks,
        evidence=_evidence(context, candidate, rebuilt, champion),
    )
    if verdict.outcome == "promoted":
        with clock.step("promote"):
            verdict = _promote(context, verdict, to_beat)
    clock.check()
    verdict = verdict.model_copy(update={"seconds": clock.seconds})
    return publish_verdict(client, run, api, gate, verdict, predictions, context.settings)


def _evaluate_champion(
    context: WeighingContext, to_beat: PromotedVersion | None, evaluation: PublishedEvaluation
) -> EvaluatedChampion | None:
    """The champion with its rows; None if there is none, or it is the version itself."""
    if to_beat is None or to_beat.is_of(context.gate, context.record.id.version):
        return None
    return evaluate_champion(context, to_beat, evaluation)


def _evaluate_candidate(
    context: WeighingContext, champion: EvaluatedChampion | None, evaluation: PublishedEvaluation
) -> tuple[Evaluated, RebuiltModel | Exchanged]:
    gate, clock = context.gate, context.clock
    with serve_version(
        context, context.record.id.version, gate.rag_model, gate.chat_model, clock.step
    ) as served:
        record_template(context.recording.run, served.endpoint.chat_template_digest)
        with clock.step("evaluate"):
            return _evaluate(context, served, evaluation, champion), served.rebuilt


def _evaluate(
    context: WeighingContext,
    served: ServedVersion,
    evaluation: PublishedEvaluation,
    champion: EvaluatedChampion | None,
) -> Evaluated:
    gate, is_decided = context.gate, None
    if gate.early_stop:
        is_decided = EarlyVerdict(gate, evaluation.rows(), champion and champion.evaluated.rows)
    batch = gate.early_stop.batch if gate.early_stop else 0
    return evaluate_version(context, served, evaluation, is_decided=is_decided, batch=batch)


def _outcome(gate: Gate, checks: tuple[Check, ...]) -> Outcome:
    outcome = decide_outcome(checks)
    return "awaiting approval" if outcome == "promoted" and gate.approval else outcome


def _evidence(
    context: WeighingContext,
    candidate: Evaluated,
    rebuilt: RebuiltModel | Exchanged,
    champion: EvaluatedChampion | None,
) -> Evidence:
    return Evidence(
        weave_call=candidate.call,
        weave_url=candidate.url,
        run_url=context.recording.run.url,
        rag_model=rebuilt.ref,
        evaluation=candidate.evaluation,
        dataset=candidate.dataset,
        rows=len(candidate.rows),
        of_rows=candidate.of_rows,
        champion=champion.evidence if champion else None,
        environment=candidate.environment,
        measured=candidate.measured,
    )


def _promote(
    context: WeighingContext, verdict: Verdict, to_beat: PromotedVersion | None
) -> Verdict:
    def check_champion(current: PromotedVersion | None) -> None:
        if context.gate.relative_thresholds:
            require_same_champion(context.gate, to_beat, current)

    promoted = promote_exclusively(
        context.recording.run,
        context.recording.api,
        context.record,
        verdict,
        check_champion,
        context.settings,
        context.clock,
    )
    return verdict.model_copy(update={"promoted_ref": str(promoted)})
