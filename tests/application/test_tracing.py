"""The costs that are removed from Weave still exist, and removing them changes no result."""

import time
import typing

import pytest
import weave
from weave.trace.op import is_op
from weave.trace.weave_client import WeaveClient, _get_call_processor
from weave.trace_server_bindings import call_batch_processor
from weave.trace_server_bindings.async_batch_processor import DEFAULT_MIN_BATCH_INTERVAL

from application.tracing import lighten


@weave.op
def some_op(question: str) -> str:
    return question


class Part(weave.Object):
    @weave.op
    def method(self) -> None: ...


def test_ops_are_still_distinguished_from_values(weave_project: WeaveClient) -> None:
    values = [some_op, Part().method, Part(), "text", 1, None, lambda: None, len, [], {}, some_op]
    before = [is_op(value) for value in values]
    lighten(weave_project)
    assert [is_op(value) for value in values] == before
    assert before[:3] == [True, True, False]


def test_a_protocols_members_are_looked_up_once(weave_project: WeaveClient) -> None:
    lighten(weave_project)
    lighten(weave_project)  # the next weighing's client
    is_op("text")
    looked_up = typing._get_protocol_attrs.cache_info().misses  # type: ignore[attr-defined]
    is_op("another text")
    assert typing._get_protocol_attrs.cache_info().misses == looked_up  # type: ignore[attr-defined]


def test_calls_and_feedback_are_uploaded_more_often(weave_project: WeaveClient) -> None:
    uploads = [_get_call_processor(weave_project.server), weave_project._server_feedback_processor]
    for upload in uploads:  # the fixture's client uploads all the time
        upload.min_batch_interval = DEFAULT_MIN_BATCH_INTERVAL
    lighten(weave_project)
    assert all(upload.min_batch_interval < DEFAULT_MIN_BATCH_INTERVAL for upload in uploads)


def test_a_call_that_never_ends_does_not_delay_a_flush(
    weave_project: WeaveClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = 60.0  # seconds; with Weave's own value the test would take minutes to fail
    monkeypatch.setattr(call_batch_processor, "FLUSH_TIMEOUT_SECONDS", default)
    lighten(weave_project)
    cut_off = weave_project.create_call(some_op, {"question": "why?"})
    since = time.monotonic()
    weave_project.flush()
    assert time.monotonic() - since < default
    [sent] = weave_project.get_calls()
    assert (sent.id, sent.ended_at) == (cut_off.id, None)
