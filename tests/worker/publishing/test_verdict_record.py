"""Verdicts on calls, read back by another client."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import weave
from weave.trace.call import Call
from weave.trace.weave_client import WeaveClient

from local_wandb import LocalWandb, LocalWandbConfig
from schemas.errors import ConfigurationError, PlatformError, WeighbridgeError
from schemas.events import WeighingId
from schemas.thresholds import AtLeast, NoWorseThan
from schemas.verdicts import (
    ChampionEvidence,
    Check,
    Comparison,
    Decision,
    Evidence,
    Timings,
    Verdict,
)
from tests.weave_clients import connected
from worker.publishing import record_verdict, recorded_verdict

DropFeedback = Callable[[str], AbstractContextManager[None]]


@weave.op
def evaluated() -> str:
    """A placeholder for an evaluation."""
    return "done"


@pytest.fixture
def call(weave_project: WeaveClient) -> Call:
    call: Call = evaluated.call()[1]
    weave_project.flush()
    return call


@pytest.fixture
def verdict(weighing: WeighingId) -> Verdict:
    comparison = Comparison(
        champion=0.7,
        difference=1 / 30,
        interval=(-0.1, 0.1 + 0.2),
        confidence=0.95,
        method="paired bootstrap, BCa",
        p_value=0.25,
        detectable=0.05,
        rows=66,
    )
    beside = NoWorseThan(metric="exact.mean", no_worse_than="champion", slice={"topic": "ice"})
    evidence = Evidence(
        weave_call="0197",
        weave_url="http://127.0.0.1/call",
        run_url="http://127.0.0.1/run",
        rag_model="weave:///wandb-smle/weave-cookboook-demo/object/RagModel:abc",
        evaluation="weave:///wandb-smle/weave-cookboook-demo/object/climate_rag_eval:abc",
        dataset="weave:///wandb-smle/weave-cookboook-demo/object/questions:abc",
        rows=66,
        of_rows=66,
        champion=ChampionEvidence(
            version="org/wandb-registry-R/c:v1",
            rag_model="weave:///e/p/object/RagModel:d",
            weave_call="01",
            evaluated_again=False,
        ),
    )
    return Verdict(
        weighing=weighing,
        source="webhook",
        outcome="promoted",
        reason="All 2 thresholds hold: größer als 0.5.",
        gate_digest="abc",
        checks=(
            Check(threshold=AtLeast(metric="exact.mean", at_least=0.5), value=2 / 3, passed=True),
            Check(threshold=beside, value=0.5, passed=True, comparison=comparison),
        ),
        evidence=evidence,
        decision=Decision(approved=True, by="ada", at=datetime(2026, 1, 1, tzinfo=UTC)),
        seconds=Timings(evaluate=12.25),
    )


@pytest.fixture
def drop_feedback(local_wandb: LocalWandb, project: str) -> DropFeedback:
    """Makes the server confirm an INSERT or DELETE of feedback in this project without doing it."""

    @contextmanager
    def drop(statement: str) -> Iterator[None]:
        old = "OLD" if statement == "DELETE" else "NEW"
        with closing(sqlite3.connect(local_wandb.config.data_dir / "wandb.sqlite")) as database:
            database.execute(
                f"CREATE TRIGGER drop_feedback BEFORE {statement} ON weave_feedback"
                f" WHEN {old}.project_id = '{project}' BEGIN SELECT RAISE(IGNORE); END"
            )
            try:
                yield
            finally:
                database.execute("DROP TRIGGER drop_feedback")

    return drop


def _rejected(verdict: Verdict, reason: str = "1 of 2 thresholds failed.") -> Verdict:
    return verdict.model_copy(update={"outcome": "rejected", "reason": reason})


def _feedback(client: WeaveClient, call: Call) -> list[dict[str, Any]]:
    """Return all feedback on the call, as its page in Weave shows it."""
    [read] = client.get_calls(filter={"call_ids": [call.id]}, include_feedback=True)
    assert read.summary is not None
    feedback: list[dict[str, Any]] = read.summary["weave"]["feedback"]
    return feedback


def _notes(client: WeaveClient, call: Call) -> list[str]:
    feedback = _feedback(client, call)
    return [one["payload"]["note"] for one in feedback if one["feedback_type"] == "wandb.note.1"]


def test_a_verdict_is_read_back_unchanged(
    weave_project: WeaveClient, call: Call, verdict: Verdict, reader: Callable[[], WeaveClient]
) -> None:
    record_verdict(weave_project, str(call.id), verdict)
    assert recorded_verdict(reader(), str(call.id)) == verdict


def test_a_note_shows_outcome_and_reason(
    weave_project: WeaveClient, call: Call, verdict: Verdict, reader: Callable[[], WeaveClient]
) -> None:
    record_verdict(weave_project, str(call.id), verdict)
    assert _notes(reader(), call) == ["promoted: All 2 thresholds hold: größer als 0.5."]


def test_calls_are_found_by_their_verdict(
    weave_project: WeaveClient, call: Call, verdict: Verdict
) -> None:
    evaluated()
    weave_project.flush()
    record_verdict(weave_project, str(call.id), verdict)
    outcome = {"$getField": "feedback.[weighbridge.verdict].payload.outcome"}
    query = {"$expr": {"$eq": [outcome, {"$literal": "promoted"}]}}
    assert [found.id for found in weave_project.get_calls(query=query)] == [call.id]


def test_a_later_verdict_replaces_the_earlier_one(
    weave_project: WeaveClient, call: Call, verdict: Verdict, reader: Callable[[], WeaveClient]
) -> None:
    for one in (verdict, verdict, _rejected(verdict)):
        record_verdict(weave_project, str(call.id), one)
    client = reader()
    assert recorded_verdict(client, str(call.id)) == _rejected(verdict)
    assert len(_feedback(client, call)) == 2
    assert _notes(client, call) == ["rejected: 1 of 2 thresholds failed."]


def test_other_feedback_on_the_call_is_kept(
    weave_project: WeaveClient, call: Call, verdict: Verdict
) -> None:
    call.feedback.add_note("looks odd")
    weave_project.flush()
    for one in (verdict, _rejected(verdict)):
        record_verdict(weave_project, str(call.id), one)
    assert _notes(weave_project, call) == ["looks odd", "rejected: 1 of 2 thresholds failed."]


def test_after_a_crash_the_later_of_two_verdicts_counts(
    weave_project: WeaveClient, call: Call, verdict: Verdict, drop_feedback: DropFeedback
) -> None:
    with drop_feedback("DELETE"):
        for one in (verdict, _rejected(verdict)):
            record_verdict(weave_project, str(call.id), one)
    assert len(_feedback(weave_project, call)) == 4
    assert recorded_verdict(weave_project, str(call.id)) == _rejected(verdict)
    record_verdict(weave_project, str(call.id), verdict)
    assert len(_feedback(weave_project, call)) == 2


def test_a_call_without_a_verdict_has_none(
    weave_project: WeaveClient, call: Call, verdict: Verdict
) -> None:
    _, other = evaluated.call()
    record_verdict(weave_project, str(other.id), verdict)
    assert recorded_verdict(weave_project, str(call.id)) is None


def test_a_long_reason_is_cut_in_the_note_only(
    weave_project: WeaveClient, call: Call, verdict: Verdict
) -> None:
    rejected = _rejected(verdict, "exact.mean is 0.1, not >= 0.5; " * 100)
    record_verdict(weave_project, str(call.id), rejected)
    [note] = _notes(weave_project, call)
    assert len(note) <= 1024
    assert note.endswith(" ...")
    assert recorded_verdict(weave_project, str(call.id)) == rejected


def test_a_verdict_over_the_size_limit_of_wandb_is_an_error(
    weave_project: WeaveClient, call: Call, verdict: Verdict
) -> None:
    with pytest.raises(WeighbridgeError, match="payload too large"):
        record_verdict(weave_project, str(call.id), _rejected(verdict, "x" * 2**20))
    assert _feedback(weave_project, call) == []


def test_a_verdict_that_the_server_loses_is_a_platform_error(
    weave_project: WeaveClient,
    call: Call,
    verdict: Verdict,
    drop_feedback: DropFeedback,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record_verdict(weave_project, str(call.id), verdict)
    monkeypatch.setattr("worker.publishing.verdict_record.AFTER_A_WHILE", (0.0,))
    with (
        drop_feedback("INSERT"),
        pytest.raises(PlatformError, match="did not arrive"),
    ):
        record_verdict(weave_project, str(call.id), _rejected(verdict))
    assert recorded_verdict(weave_project, str(call.id)) == verdict


def test_an_unreadable_verdict_is_a_configuration_error(
    weave_project: WeaveClient, call: Call
) -> None:
    call.feedback.add("weighbridge.verdict", {"outcome": "weighed"}, creator="weighbridge")
    weave_project.flush()
    with pytest.raises(ConfigurationError, match=f"verdict on call {call.id} cannot be read"):
        recorded_verdict(weave_project, str(call.id))


def test_an_unreachable_server_is_a_platform_error(
    verdict: Verdict, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = LocalWandbConfig(data_dir=tmp_path / "another")
    with LocalWandb(config) as server, ExitStack() as stack:
        for name, value in server.environment(tmp_path / "its client").items():
            monkeypatch.setenv(name, value)
        client = stack.enter_context(connected(project))
        server.stop()
        with pytest.raises(PlatformError, match="W&B did not read the feedback on call 0197"):
            record_verdict(client, "0197", verdict)
