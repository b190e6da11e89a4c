"""Verdicts on calls, read back by a client that did not record them."""

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

Forgetful = Callable[[str], AbstractContextManager[None]]


@weave.op
def evaluated() -> str:
    """Stands for an evaluation."""
    return "done"


@pytest.fixture
def call(weave_project: WeaveClient) -> Call:
    made: Call = evaluated.call()[1]
    weave_project.flush()
    return made


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
def forgetful(local_wandb: LocalWandb, project: str) -> Forgetful:
    """Has the server confirm an INSERT or DELETE of feedback in this project and not do it."""

    @contextmanager
    def forget(statement: str) -> Iterator[None]:
        old = "OLD" if statement == "DELETE" else "NEW"
        with closing(sqlite3.connect(local_wandb.config.data_dir / "wandb.sqlite")) as database:
            database.execute(
                f"CREATE TRIGGER forgetful BEFORE {statement} ON weave_feedback"
                f" WHEN {old}.project_id = '{project}' BEGIN SELECT RAISE(IGNORE); END"
            )
            try:
                yield
            finally:
                database.execute("DROP TRIGGER forgetful")

    return forget


def _rejected(verdict: Verdict, reason: str = "1 of 2 thresholds failed.") -> Verdict:
    return verdict.model_copy(update={"outcome": "rejected", "reason": reason})


def _given(client: WeaveClient, call: Call) -> list[dict[str, Any]]:
    """All feedback on the call, as its page in Weave shows it."""
    [read] = client.get_calls(filter={"call_ids": [call.id]}, include_feedback=True)
    assert read.summary is not None
    given: list[dict[str, Any]] = read.summary["weave"]["feedback"]
    return given


def _notes(client: WeaveClient, call: Call) -> list[str]:
    given = _given(client, call)
    return [one["payload"]["note"] for one in given if one["feedback_type"] == "wandb.note.1"]


def test_a_verdict_is_read_back_as_it_was(
    weave_project: WeaveClient, call: Call, verdict: Verdict, reader: Callable[[], WeaveClient]
) -> None:
    record_verdict(weave_project, str(call.id), verdict)
    assert recorded_verdict(reader(), str(call.id)) == verdict


def test_a_person_sees_outcome_and_reason(
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


def test_the_next_verdict_replaces_the_one_before(
    weave_project: WeaveClient, call: Call, verdict: Verdict, reader: Callable[[], WeaveClient]
) -> None:
    for one in (verdict, verdict, _rejected(verdict)):
        record_verdict(weave_project, str(call.id), one)
    client = reader()
    assert recorded_verdict(client, str(call.id)) == _rejected(verdict)
    assert len(_given(client, call)) == 2
    assert _notes(client, call) == ["rejected: 1 of 2 thresholds failed."]


def test_what_people_say_about_the_call_stays(
    weave_project: WeaveClient, call: Call, verdict: Verdict
) -> None:
    call.feedback.add_note("looks odd")
    weave_project.flush()
    for one in (verdict, _rejected(verdict)):
        record_verdict(weave_project, str(call.id), one)
    assert _notes(weave_project, call) == ["looks odd", "rejected: 1 of 2 thresholds failed."]


def test_of_two_verdicts_that_a_crash_left_the_later_one_counts(
    weave_project: WeaveClient, call: Call, verdict: Verdict, forgetful: Forgetful
) -> None:
    with forgetful("DELETE"):
        for one in (verdict, _rejected(verdict)):
            record_verdict(weave_project, str(call.id), one)
    assert len(_given(weave_project, call)) == 4
    assert recorded_verdict(weave_project, str(call.id)) == _rejected(verdict)
    record_verdict(weave_project, str(call.id), verdict)
    assert len(_given(weave_project, call)) == 2


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


def test_a_verdict_that_is_too_large_for_w_and_b_is_refused_aloud(
    weave_project: WeaveClient, call: Call, verdict: Verdict
) -> None:
    with pytest.raises(WeighbridgeError, match="payload too large"):
        record_verdict(weave_project, str(call.id), _rejected(verdict, "x" * 2**20))
    assert _given(weave_project, call) == []


def test_a_verdict_that_the_server_loses_is_missed(
    weave_project: WeaveClient,
    call: Call,
    verdict: Verdict,
    forgetful: Forgetful,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record_verdict(weave_project, str(call.id), verdict)
    monkeypatch.setattr("worker.publishing.verdict_record.AFTER_A_WHILE", (0.0,))
    with (
        forgetful("INSERT"),
        pytest.raises(PlatformError, match="did not arrive"),
    ):
        record_verdict(weave_project, str(call.id), _rejected(verdict))
    assert recorded_verdict(weave_project, str(call.id)) == verdict


def test_a_verdict_of_another_version_is_named(weave_project: WeaveClient, call: Call) -> None:
    call.feedback.add("weighbridge.verdict", {"outcome": "weighed"}, creator="weighbridge")
    weave_project.flush()
    with pytest.raises(ConfigurationError, match=f"verdict on call {call.id} cannot be read"):
        recorded_verdict(weave_project, str(call.id))


def test_a_server_that_is_gone_is_worth_another_try(
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
