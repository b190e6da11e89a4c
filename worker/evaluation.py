"""Step 3: run the published Evaluation, then read its evidence back from the server."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import wandb
import weave
from weave.trace.weave_client import WeaveClient

from application import evaluate as application
from application.batches import IsDecided, in_batches, with_row_callback
from application.evaluate import questions, row_count
from application.rag.serving import serving
from application.rebuild import RebuiltModel
from schemas.errors import InternalError
from worker.context import ServedVersion, WeighingContext
from worker.published_evaluation import PublishedEvaluation
from worker.verdict.evidence import Evaluated, read_back
from worker.verdict.running_means import RunningMeans


def evaluate_version(
    context: WeighingContext,
    served: ServedVersion,
    evaluation: PublishedEvaluation,
    *,
    is_decided: IsDecided | None = None,
    batch: int = 0,
) -> Evaluated:
    """Evaluate a served version, and log the summary to the weighing's run.

    Args:
        is_decided: Called after each batch; the evaluation stops when it returns True.
        batch: Dataset rows in a batch.

    Raises:
        EvidenceError, ConfigurationError, PlatformError: As ``evaluate``.
        LeaseLostError: Another worker has the weighing.
    """
    client, run, _ = context.recording
    if context.applications:
        evaluated = context.applications.evaluate(
            served, evaluation, is_decided=is_decided, batch=batch
        )
        _log(run, evaluated)
        return evaluated
    with _prepared(context, served, evaluation) as (prepared, model):
        return evaluate(
            client,
            run,
            prepared,
            model,
            concurrency=served.concurrency,
            is_decided=is_decided,
            batch=batch,
        )


def evaluate_beside(
    context: WeighingContext, served: ServedVersion, evaluation: PublishedEvaluation
) -> Evaluated:
    """Evaluate a served version in full; its calls belong to the run, and nothing is logged there.

    Raises:
        EvidenceError, ConfigurationError, PlatformError: As ``evaluate``.
        LeaseLostError: Another worker has the weighing.
    """
    client, run, _ = context.recording
    if context.applications:
        return context.applications.evaluate(served, evaluation, is_decided=None, batch=0)
    with _prepared(context, served, evaluation) as (prepared, model):
        return run_evaluation(client, run, prepared, model, concurrency=served.concurrency)


@contextmanager
def _prepared(
    context: WeighingContext, served: ServedVersion, evaluation: PublishedEvaluation
) -> Iterator[tuple[weave.Evaluation, weave.Model]]:
    """Route an evaluation's requests to a served version, and retrieve the passages beforehand.

    Yields:
        The evaluation, which reports progress after each row that is scored, and its model.
    """
    loaded, rebuilt = evaluation.loaded, served.rebuilt
    if loaded is None or not isinstance(rebuilt, RebuiltModel):
        raise InternalError("An evaluation in this process needs an instance of our RagModel.")
    count = context.clock.counter(row_count(loaded))
    means = RunningMeans(threshold.metric for threshold in context.gate.thresholds)

    def on_row(scores: Mapping[str, float]) -> None:
        means.add(scores)
        count(means.values)

    with (
        serving(served.ref.uri, served.endpoint),
        rebuilt.model.prepared(questions(loaded)),
    ):
        yield with_row_callback(loaded, on_row), rebuilt.model


def evaluate(
    client: WeaveClient,
    run: wandb.Run,
    evaluation: weave.Evaluation,
    model: weave.Model,
    *,
    concurrency: int,
    is_decided: IsDecided | None = None,
    batch: int = 0,
) -> Evaluated:
    """Evaluate a version, and log the summary to its run.

    Args:
        client: Client of the project that the calls go to.
        run: Gets the summary as metrics, and the call and its page in its config.
        evaluation: The published Evaluation.
        model: The application around the version.
        concurrency: Rows that are evaluated at once.
        is_decided: Called after each batch; the evaluation stops when it returns True.
        batch: Dataset rows in a batch.

    Returns:
        The evidence, as the trace server has it.

    Raises:
        EvidenceError: A row or the end of the evaluation did not arrive at the server, or a row
            has no answer.
        ConfigurationError, PlatformError: A judge of the evaluation could not be queried.
    """
    if is_decided is not None:
        evaluation = in_batches(evaluation, batch, is_decided)
    evaluated = run_evaluation(client, run, evaluation, model, concurrency=concurrency)
    _log(run, evaluated)
    return evaluated


def _log(run: wandb.Run, evaluated: Evaluated) -> None:
    run.config.update(  # type: ignore[no-untyped-call]
        {"weave_eval_call": evaluated.call, "weave_eval_url": evaluated.url}
    )
    run.log(evaluated.summary)


def run_evaluation(
    client: WeaveClient,
    run: wandb.Run,
    evaluation: weave.Evaluation,
    model: weave.Model,
    *,
    concurrency: int,
) -> Evaluated:
    """Evaluate a model; its calls belong to the run, and nothing is logged there.

    Raises:
        EvidenceError, ConfigurationError, PlatformError: As ``evaluate``.
    """
    call = application.run_evaluation(
        client,
        evaluation,
        model,
        run_id=str(run.id),
        run_step=run.step,
        concurrency=concurrency,
    )
    return read_back(client, call)
