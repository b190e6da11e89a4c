"""The five steps in order: download, rebuild, evaluate, weigh, promote."""

from contextlib import ExitStack

from schemas.settings import Settings
from schemas.verdicts import Evidence, Verdict
from schemas.weighings import Weighing
from worker.download import download
from worker.evaluate import evaluate, row_count
from worker.inference import Engine
from worker.promote import promote
from worker.rag.serving import counted, serving
from worker.rebuild import load_evaluation, rebuild
from worker.recording import evaluation_run, weave_client
from worker.steps import StepClock
from worker.weigh import metrics, outcome, sentence, weigh


def weigh_version(
    record: Weighing, settings: Settings, engine: Engine, clock: StepClock
) -> Verdict:
    """Weigh one version under one gate, and promote it when every threshold holds.

    Nothing in the Registry changes unless the last step is reached.

    Args:
        record: the weighing, with the gate as it was when it was opened.
        engine: serves the version; it may be serving another one now.
        clock: times the steps and tells the ledger.

    Returns:
        A verdict; `failed` only when a metric has no value.

    Raises:
        ConfigurationError: the gate names something that does not exist.
        ArtifactError: the version cannot be weighed.
        PlatformError: W&B or the engine failed; worth another attempt.
        LeaseLostError: another worker has the weighing.
    """
    gate, version = record.gate, record.id.version
    client = weave_client(gate)
    with evaluation_run(record, settings) as run:
        with clock.step("download"):
            folder = download(run, version, settings.cache_dir)
        with ExitStack() as engine_held:
            with clock.step("rebuild"):
                served = engine_held.enter_context(engine.serve(folder, str(version), clock.report))
                evaluation = load_evaluation(
                    gate.evaluation, allow_stored_code=gate.allow_stored_code
                )
                rebuilt = rebuild(gate.rag_model, version.uri, gate.chat_model)
            answers = counted(served, clock.counter(row_count(evaluation)))
            with clock.step("evaluate"), serving(version.uri, answers):
                evaluated = evaluate(client, run, evaluation, rebuilt.model)
        with clock.step("weigh"):
            checks = weigh(gate, metrics(evaluated.summary))
        promoted, decided = None, outcome(checks)
        if decided == "promoted":
            with clock.step("promote"):
                promoted = promote(run, gate, rebuilt.ref, rebuilt.url, clock.check)
        return Verdict(
            weighing=record.id,
            source=record.event.source,
            outcome=decided,
            reason=sentence(checks),
            checks=checks,
            evidence=Evidence(
                weave_call=evaluated.call,
                weave_url=evaluated.url,
                run_url=run.url,
                rag_model=rebuilt.ref.uri,
                evaluation=evaluated.evaluation,
                rows=evaluated.rows,
            ),
            promoted_ref=str(promoted) if promoted else None,
            seconds=clock.seconds,
        )
