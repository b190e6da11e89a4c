"""The five steps in order: download, rebuild, evaluate, weigh, promote."""

from contextlib import ExitStack
from pathlib import Path

from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.verdicts import Evidence, Verdict
from schemas.weighings import Weighing
from worker.download import downloaded
from worker.evaluate import evaluate, questions, row_count
from worker.inference import Engine, ExternalEngine, ServeOptions
from worker.promote import promote
from worker.rag.serving import counted, serving
from worker.rebuild import load_chat_model, load_evaluation, rebuild, resolved
from worker.recording import evaluation_run, record_template, weave_client
from worker.steps import StepClock
from worker.weigh import metrics, outcome, sentence, weigh


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
        with ExitStack() as engine_held:

            def fetch(ref: ArtifactRef) -> Path:
                return engine_held.enter_context(
                    downloaded(
                        run, ref, settings, clock.report, trust_remote_code=gate.trust_remote_code
                    )
                )

            with clock.step("download"):
                folder = fetch(version)
            with clock.step("rebuild"):
                # An alias may move while the engine loads the version.
                application = resolved(gate.rag_model)
                asked = load_chat_model(application, version.uri, gate.chat_model)
                served = engine_held.enter_context(
                    engine.serve(
                        folder,
                        str(version),
                        clock.report,
                        options=ServeOptions(
                            quantize=asked.cm_quantize,
                            dtype=asked.dtype,
                            trust_remote_code=gate.trust_remote_code,
                            together=together,
                        ),
                        fetch_base=lambda name: fetch(ArtifactRef.parse(name)),
                    )
                )
                evaluation = load_evaluation(
                    gate.evaluation, allow_stored_code=gate.allow_stored_code
                )
                rebuilt = rebuild(application, version.uri, gate.chat_model)
                record_template(run, served.chat_template_digest)
            answers = counted(served, clock.counter(row_count(evaluation)))
            with (
                clock.step("evaluate"),
                serving(version.uri, answers),
                rebuilt.model.prepared(questions(evaluation)),
            ):
                evaluated = evaluate(
                    client,
                    run,
                    evaluation,
                    rebuilt.model,
                    concurrency=min(
                        settings.evaluation_concurrency,
                        served.at_once or settings.evaluation_concurrency,
                    ),
                )
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
