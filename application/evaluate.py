"""Run a published Evaluation of a model in this process."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import weave
from weave.trace.env import WEAVE_PARALLELISM
from weave.trace.weave_client import WeaveClient

from application.judge_failures import fail_on_judge_errors

_RUN_ATTRIBUTE = "wandb-run-id"  # the name that the W&B tutorial uses


def run_evaluation(
    client: WeaveClient,
    evaluation: weave.Evaluation,
    model: weave.Model,
    *,
    run_id: str,
    run_step: int,
    concurrency: int,
    attributes: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Evaluate a model, and attribute its calls to a W&B run.

    Args:
        client: Client of the project that the calls go to.
        evaluation: The published Evaluation.
        model: The model to evaluate.
        run_id: Id of the W&B run.
        run_step: The run's current step.
        concurrency: Rows that are evaluated at once. The operator's own WEAVE_PARALLELISM takes
            precedence.
        attributes: Further attributes of the calls, by name.

    Returns:
        The id of the evaluation's root call. Every call has been sent to the trace server.

    Raises:
        ConfigurationError, PlatformError: A judge of the evaluation failed.
    """
    with (
        fail_on_judge_errors(),
        _calls_belong_to(client, run_id, run_step),
        weave.attributes(dict(attributes)),
        _rows_at_once(concurrency),
    ):
        # By default Weave swallows what the evaluation raises.
        _, call = asyncio.run(evaluation.evaluate.call(evaluation, model, __should_raise=True))
        client.flush()
        return str(call.id)


@contextmanager
def _calls_belong_to(client: WeaveClient, run_id: str, run_step: int) -> Iterator[None]:
    """Attribute the calls to a run.

    Weave would find a global run by itself, but query wandb's process for the run's step twice per
    call, which is half the cost of a call. So the run is set on the client, and is not the global
    one (``worker/recording.py``).
    """
    client.set_wandb_run_context(run_id, run_step)
    try:
        with weave.attributes({_RUN_ATTRIBUTE: run_id}):
            yield
    finally:
        client.clear_wandb_run_context()


@contextmanager
def _rows_at_once(count: int) -> Iterator[None]:
    """Set how many rows Weave evaluates at once; an evaluation reads the variable as it starts."""
    if WEAVE_PARALLELISM in os.environ:
        yield
        return
    os.environ[WEAVE_PARALLELISM] = str(count)
    try:
        yield
    finally:
        del os.environ[WEAVE_PARALLELISM]


def row_count(evaluation: weave.Evaluation) -> int:
    """Return how many predictions the evaluation makes: its rows times its trials."""
    return len(evaluation.dataset.rows) * evaluation.trials


def questions(evaluation: weave.Evaluation) -> list[str]:
    """Return the evaluation's questions: the column that Weave passes to ``RagModel.predict``."""
    return [str(row["question"]) for row in evaluation.dataset.rows if "question" in row]
