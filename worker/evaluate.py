"""Step 3: run the published evaluation, then read back what arrived.

Weave returns a normal summary even when rows raised or traces were lost
(facts/weave-protocol.md 6.5 and 8). So nothing is believed that the trace server does not confirm.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import wandb
import weave
from pydantic import BaseModel, ConfigDict
from weave.flow.scorer import get_scorer_attributes
from weave.trace.call import Call
from weave.trace.weave_client import WeaveClient

from schemas.errors import PlatformError

_PREDICTION_OP = "Evaluation.predict_and_score"
_RUN_ATTRIBUTE = "wandb-run-id"  # the tutorial's name for it


class Evaluated(BaseModel):
    """An evaluation that ran, as the trace server has it.

    Attributes:
        summary: Weave's summary, by scorer.
        call: id of the root call.
        url: its page.
        rows: number of rows, each read back with every score.
    """

    model_config = ConfigDict(frozen=True)

    summary: dict[str, Any]
    call: str
    url: str
    rows: int


def evaluate(
    client: WeaveClient, run: wandb.Run, evaluation: weave.Evaluation, model: weave.Model
) -> Evaluated:
    """Evaluate the model, log the summary to the run, and check that every row arrived.

    Args:
        client: of the project that the calls go to.
        run: gets the summary as metrics, and the call and its page in its config.

    Raises:
        PlatformError: a row, a score or the end of the evaluation is missing on the server.
    """
    with weave.attributes({_RUN_ATTRIBUTE: run.id}):
        summary, call = asyncio.run(evaluation.evaluate.call(evaluation, model))
    run.config.update(  # type: ignore[no-untyped-call]
        {"weave_eval_call": call.id, "weave_eval_url": call.ui_url}
    )
    client.flush()
    rows = _read_back(client, evaluation, call.id)
    run.log(summary)
    return Evaluated(summary=summary, call=call.id, url=call.ui_url, rows=rows)


def _read_back(client: WeaveClient, evaluation: weave.Evaluation, root_id: str) -> int:
    """Require the root's end, one call per row and trial, and a score from every scorer."""
    root = client.get_call(root_id)
    if root.ended_at is None or root.exception:
        raise PlatformError(f"Evaluation call {root_id} has not ended on the trace server.")
    children = client.get_calls(filter={"parent_ids": [root_id]})
    rows = [call for call in children if call.func_name == _PREDICTION_OP]
    expected = len(evaluation.dataset.rows) * evaluation.trials
    if len(rows) != expected:
        raise PlatformError(
            f"Evaluation call {root_id} has {len(rows)} rows on the trace server, not {expected}."
        )
    scorers = [get_scorer_attributes(scorer).scorer_name for scorer in evaluation.scorers or []]
    incomplete = [call.id for call in rows if not _complete(call, scorers)]
    if incomplete:
        raise PlatformError(
            f"{len(incomplete)} of {expected} rows of evaluation call {root_id} have no answer or"
            f" no score; the first is call {incomplete[0]}."
        )
    return expected


def _complete(call: Call, scorers: Sequence[str]) -> bool:
    if call.exception or not call.output:
        return False
    scores = call.output["scores"]
    return all(scorer in scores and scores[scorer] not in (None, {}) for scorer in scorers)
