"""Step 3: run the published evaluation, then read back what arrived."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import wandb
import weave
from weave.trace.env import WEAVE_PARALLELISM
from weave.trace.weave_client import WeaveClient

from worker.batches import IsDecided, in_batches
from worker.evidence import Evaluated, read_back
from worker.rag.judge import accounted

_RUN_ATTRIBUTE = "wandb-run-id"  # the tutorial's name for it


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
        client: of the project that the calls go to.
        run: gets the summary as metrics, and the call and its page in its config.
        concurrency: rows that are asked at once. Weave's own WEAVE_PARALLELISM wins when the
            operator has set it.
        is_decided: asked after each batch; the evaluation stops when it says yes.
        batch: dataset rows in a batch.

    Raises:
        EvidenceError: a row or the end of the evaluation did not arrive at the server, or a row
            has no answer.
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
        EvidenceError: as `evaluate`.
        ConfigurationError, PlatformError: a judge of the evaluation could not be asked.
    """
    with accounted():
        with _calls_of(run, client), _rows_at_once(concurrency):
            # Weave would else keep what was raised to itself.
            _, call = asyncio.run(evaluation.evaluate.call(evaluation, model, __should_raise=True))
            client.flush()
        return read_back(client, call.id)


@contextmanager
def _calls_of(run: wandb.Run, client: WeaveClient) -> Iterator[None]:
    """Record the calls as the run's.

    Weave finds the global run by itself, but asks wandb's process for its step twice per call:
    half of what a call costs. So the run is told to the client, and is not the global one
    (`worker/recording.py`).
    """
    client.set_wandb_run_context(run.id, run.step)
    try:
        with weave.attributes({_RUN_ATTRIBUTE: run.id}):
            yield
    finally:
        client.clear_wandb_run_context()


@contextmanager
def _rows_at_once(count: int) -> Iterator[None]:
    """Have Weave ask for so many rows at once; it reads the variable when an evaluation starts."""
    if WEAVE_PARALLELISM in os.environ:
        yield
        return
    os.environ[WEAVE_PARALLELISM] = str(count)
    try:
        yield
    finally:
        del os.environ[WEAVE_PARALLELISM]


def row_count(evaluation: weave.Evaluation) -> int:
    """How many predictions the evaluation asks for: its rows, each as often as it has trials."""
    return len(evaluation.dataset.rows) * evaluation.trials


def questions(evaluation: weave.Evaluation) -> list[str]:
    """What the evaluation asks: the column that Weave hands to ``RagModel.predict``."""
    return [str(row["question"]) for row in evaluation.dataset.rows if "question" in row]
