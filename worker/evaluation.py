"""Step 3: run the published Evaluation, then read its evidence back from the server."""

import wandb
import weave
from weave.trace.weave_client import WeaveClient

from application import evaluate as application
from application.batches import IsDecided, in_batches
from worker.verdict.evidence import Evaluated, read_back


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
    run.config.update(  # type: ignore[no-untyped-call]
        {"weave_eval_call": evaluated.call, "weave_eval_url": evaluated.url}
    )
    run.log(evaluated.summary)
    return evaluated


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
