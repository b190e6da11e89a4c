"""Step 3: run the published evaluation, then read back what arrived.

Weave returns a normal summary even when rows raised or traces were lost
(facts/weave-protocol.md 6.5 and 8). So nothing is believed that the trace server does not confirm.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import wandb
import weave
from pydantic import BaseModel, ConfigDict
from weave.flow.scorer import get_scorer_attributes
from weave.trace.call import Call
from weave.trace.env import WEAVE_PARALLELISM
from weave.trace.ref_util import get_ref
from weave.trace.weave_client import WeaveClient

from schemas.errors import ArtifactError, InternalError, PlatformError
from worker.usage import taken

_PREDICTION_OP = "Evaluation.predict_and_score"
# Seconds between two looks at the server for what is missing: half a minute in all.
_LOOKS = (0.1, 0.2, 0.4, 0.8, 1.5, *(3.0,) * 9)
_RUN_ATTRIBUTE = "wandb-run-id"  # the tutorial's name for it


class Evaluated(BaseModel):
    """An evaluation that ran, as the trace server has it.

    Attributes:
        summary: Weave's summary by scorer, and what the evaluation took (`worker/usage.py`).
        call: id of the root call.
        url: its page.
        evaluation: ref of the evaluation, by digest.
        rows: number of rows, each read back with every score.
    """

    model_config = ConfigDict(frozen=True)

    summary: dict[str, Any]
    call: str
    url: str
    evaluation: str
    rows: int


def evaluate(
    client: WeaveClient,
    run: wandb.Run,
    evaluation: weave.Evaluation,
    model: weave.Model,
    *,
    concurrency: int,
) -> Evaluated:
    """Evaluate the model, log the summary to the run, and check that every row arrived.

    Args:
        client: of the project that the calls go to.
        run: gets the summary as metrics, and the call and its page in its config.
        concurrency: rows that are asked at once. Weave's own WEAVE_PARALLELISM wins when the
            operator has set it.

    Raises:
        PlatformError: a row or the end of the evaluation did not arrive at the server.
        ArtifactError: a row has no answer, or not every score.
    """
    with _calls_of(run, client), _rows_at_once(concurrency):
        _, call = asyncio.run(evaluation.evaluate.call(evaluation, model))
        client.flush()
    run.config.update(  # type: ignore[no-untyped-call]
        {"weave_eval_call": call.id, "weave_eval_url": call.ui_url}
    )
    root, rows = _read_back(client, call.id, row_count(evaluation))
    _require_scores(rows, evaluation)
    # A scorer of the same name stays what its author made it.
    summary = {**taken(root, rows), **root.output}
    run.log(summary)
    return Evaluated(
        summary=summary,
        call=call.id,
        url=call.ui_url,
        evaluation=_ref(evaluation),
        rows=len(rows),
    )


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


def _ref(evaluation: weave.Evaluation) -> str:
    ref = get_ref(evaluation)
    if ref is None:
        raise InternalError("An evaluation ran without being published.")
    return str(ref.uri())


def row_count(evaluation: weave.Evaluation) -> int:
    """How many predictions the evaluation asks for: its rows, each as often as it has trials."""
    return len(evaluation.dataset.rows) * evaluation.trials


def questions(evaluation: weave.Evaluation) -> list[str]:
    """What the evaluation asks: the column that Weave hands to ``RagModel.predict``."""
    return [str(row["question"]) for row in evaluation.dataset.rows if "question" in row]


def _read_back(client: WeaveClient, root_id: str, expected: int) -> tuple[Call, list[Call]]:
    """The root call and its rows, when the root has ended and every row has arrived.

    W&B may show a call a little later than it took it, so the server is asked more than once.
    """
    for wait in (*_LOOKS, 0.0):
        root = client.get_call(root_id, include_costs=True)
        children = client.get_calls(filter={"parent_ids": [root_id]})
        rows = [call for call in children if call.func_name == _PREDICTION_OP]
        if root.ended_at is not None and len(rows) == expected:
            return root, rows
        time.sleep(wait)
    raise PlatformError(
        f"Evaluation call {root_id} has {len(rows)} of {expected} rows on the trace server, and has"
        f" {'ended' if root.ended_at else 'not ended'} there."
    )


def _require_scores(rows: Sequence[Call], evaluation: weave.Evaluation) -> None:
    """Require an answer, and every part of every score, in every row."""
    scorers = [get_scorer_attributes(scorer).scorer_name for scorer in evaluation.scorers or []]
    incomplete = [call for call in rows if not _complete(call, scorers)]
    if incomplete:
        raise ArtifactError(
            f"{len(incomplete)} of {len(rows)} rows have no answer or no score; the first is Weave"
            f" call {incomplete[0].id}.",
            fix="Its children in Weave hold what was raised.",
        )


def _complete(call: Call, scorers: Sequence[str]) -> bool:
    if call.exception or not isinstance(call.output, Mapping):
        return False
    answer = call.output.get("output", call.output.get("model_output"))
    scores = call.output.get("scores") or {}
    return answer is not None and all(_whole(scores.get(scorer)) for scorer in scorers)


def _whole(score: Any) -> bool:
    """Whether a score has a value in each of its parts; NaN arrives as None."""
    if isinstance(score, Mapping):
        return bool(score) and all(_whole(part) for part in score.values())
    return score is not None
