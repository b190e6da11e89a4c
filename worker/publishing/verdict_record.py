"""The record of a verdict on the evaluation's call in Weave.

The call gets two pieces of feedback: the whole verdict, which ``weighbridge weigh --from`` reads,
and a note for people. Both bypass the client's queue, because the queue drops what the server
refuses (docs/upstream/weave-protocol.md, "Errors of the trace API").
"""

import textwrap
import time
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from weave.trace.feedback_types import NOTE_FEEDBACK_TYPE
from weave.trace.refs import CallRef
from weave.trace.weave_client import WeaveClient
from weave.vendor.weave_server_sdk.types.feedback_batch_create_params import Batch

from application.trace_call import trace_call
from schemas.errors import ConfigurationError, PlatformError
from schemas.verdicts import Verdict
from worker.verdict.evidence import AFTER_A_WHILE

_VERDICT = "weighbridge.verdict"
_CREATOR = "weighbridge"  # distinguishes our feedback from other people's
_NOTE = 1024  # characters; W&B refuses a longer note (wandb/weave, feedback_types.py)

_Feedback = dict[str, Any]


def record_verdict(client: WeaveClient, call_id: str, verdict: Verdict) -> None:
    """Record a verdict on an evaluation's call, replacing an earlier one.

    Args:
        client: Client of the call's project.
        call_id: Id of the evaluation's root call.

    Raises:
        ConfigurationError: The key is refused, or may not write to the project.
        PlatformError: The trace server refused it (W&B's limit is a megabyte), or does not return
            it.
    """
    earlier = _recorded(client, call_id)
    with trace_call(f"record the verdict on call {call_id}"):
        created = client.server.feedback_create_batch({"batch": _batch(client, call_id, verdict)})
    _wait_for(client, call_id, {one.id for one in created.res})
    # Last, so that a worker that dies in between leaves two verdicts; the later one counts.
    _remove(client, earlier)


def recorded_verdict(client: WeaveClient, call_id: str) -> Verdict | None:
    """Return the latest verdict on an evaluation's call, or None if there is none.

    Args:
        client: Client of the call's project.
        call_id: Id of the evaluation's root call.

    Raises:
        ConfigurationError: This version of Weighbridge cannot read the record.
        PlatformError: The trace server did not answer.
    """
    found = [one for one in _recorded(client, call_id) if one["feedback_type"] == _VERDICT]
    if not found:
        return None
    try:
        return Verdict.model_validate(found[-1]["payload"])
    except ValidationError as error:
        fault = error.errors()[0]
        raise ConfigurationError(
            f"The verdict on call {call_id} cannot be read:"
            f" {'.'.join(map(str, fault['loc']))}: {fault['msg']}.",
            fix="Read it with the version of Weighbridge that recorded it.",
        ) from error


def _batch(client: WeaveClient, call_id: str, verdict: Verdict) -> list[Batch]:
    note = textwrap.shorten(f"{verdict.outcome}: {verdict.reason}", _NOTE, placeholder=" ...")
    payloads = {NOTE_FEEDBACK_TYPE: {"note": note}, _VERDICT: verdict.model_dump(mode="json")}
    return [
        {
            "project_id": client.project_id,
            "weave_ref": _ref(client, call_id),
            "creator": _CREATOR,
            "feedback_type": feedback_type,
            "payload": payload,
        }
        for feedback_type, payload in payloads.items()
    ]


def _recorded(client: WeaveClient, call_id: str) -> Sequence[_Feedback]:
    """Return our feedback on a call, oldest first."""
    ours = [_equal("weave_ref", _ref(client, call_id)), _equal("creator", _CREATOR)]
    with trace_call(f"read the feedback on call {call_id}"):
        answer = client.server.feedback_query(
            {
                "project_id": client.project_id,
                "query": _query("$and", ours),
                "sort_by": [{"field": "created_at", "direction": "asc"}],
            }
        )
    return answer.result


def _wait_for(client: WeaveClient, call_id: str, ids: set[str]) -> None:
    """Wait until the feedback is visible; W&B may show it a little after it accepted it."""
    for wait in (*AFTER_A_WHILE, 0.0):
        if ids <= {one["id"] for one in _recorded(client, call_id)}:
            return
        time.sleep(wait)
    raise PlatformError(f"The verdict on call {call_id} did not arrive at the trace server.")


def _remove(client: WeaveClient, found: Sequence[_Feedback]) -> None:
    if not found:
        return
    ids = [_equal("id", one["id"]) for one in found]
    with trace_call(f"remove the earlier verdict from {found[0]['weave_ref']}"):
        client.server.feedback_purge({"project_id": client.project_id, "query": _query("$or", ids)})


def _query(operator: str, conditions: Sequence[Any]) -> Any:
    return {"$expr": {operator: conditions}}


def _equal(field: str, value: str) -> Any:
    return {"$eq": [{"$getField": field}, {"$literal": value}]}


def _ref(client: WeaveClient, call_id: str) -> str:
    return str(CallRef(entity=client.entity, project=client.project, id=call_id).uri)
