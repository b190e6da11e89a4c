"""What a person decided is done, by the evidence that they saw, and done once."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import wandb
from weave.trace.weave_client import WeaveClient

from bus.lease import LeaseLostError
from bus.ledger import Ledger
from registry.calls import wandb_api
from registry.champions import current_champion, promoted_by
from schemas.errors import ConfigurationError
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.verdicts import Decision, Outcome, Verdict
from schemas.weighings import WeighingRecord
from tests.promoted import promoted
from tests.worker.weighed import (
    allowed,
    champion_of,
    evaluated,
    gate_of,
    lease_of,
    verdict_of,
    weighing_of,
)
from worker.apply_decision import apply_decision
from worker.champion import EvaluatedChampion
from worker.promote import promote
from worker.publishing import recorded_verdict
from worker.publishing.publish import Predictions, publish_verdict
from worker.recording import evaluation_run
from worker.steps import StepClock

_APPROVED = Decision(
    approved=True, by="ada", why="it is kind", at=datetime(2026, 1, 31, tzinfo=UTC)
)
_REJECTED = _APPROVED.model_copy(update={"approved": False, "why": "it is rude."})

Waiting = Callable[[Decision], WeighingRecord]
CarryOut = Callable[[WeighingRecord], Verdict]


class _LostAfterPromotion(StepClock):
    """Its lease is lost when the version has been promoted: promote checks it twice."""

    _left = 2

    def check(self) -> None:
        if not self._left:
            raise LeaseLostError("lost")
        self._left -= 1


@pytest.fixture
def api(project: str) -> wandb.Api:
    return wandb_api(19.0)


@pytest.fixture
def asking(weave_project: WeaveClient, target: str) -> Gate:
    return gate_of(weave_project, target, approval="required")


@pytest.fixture
def champion(
    weave_project: WeaveClient, run: wandb.Run, api: wandb.Api, asking: Gate
) -> EvaluatedChampion:
    """The champion, promoted by an evaluation of its own."""
    version = ArtifactRef.parse("wandb32/wandb-registry-RAG Chat Models/champion:v0")
    found = evaluated(weave_project, run, knows=8)
    verdict = verdict_of(asking, version, run, found, of="promoted")
    weighing = weighing_of(asking, version)
    return champion_of(promote(run, weighing, verdict, None, allowed), found)


@pytest.fixture
def waiting(
    weave_project: WeaveClient,
    api: wandb.Api,
    asking: Gate,
    champion: EvaluatedChampion,
    link: Callable[..., str],
    settings: Settings,
) -> Waiting:
    """A weighing that was announced as awaiting approval, with a decision."""

    def decided(decision: Decision) -> WeighingRecord:
        version = ArtifactRef.parse(link(uuid4().hex, f"waiting {uuid4().hex[:8]}"))
        record = weighing_of(asking, version)
        with evaluation_run(record, settings) as run:
            found = evaluated(weave_project, run, knows=10)
            verdict = verdict_of(asking, version, run, found, champion, of="awaiting approval")
            findings = Predictions.of(asking, found.rows, champion.evaluated.rows)
            said = publish_verdict(weave_project, run, api, asking, verdict, findings, settings)
        return record.model_copy(update={"verdict": said, "decision": decision})

    return decided


@pytest.fixture
def carried_out(settings: Settings, ledger: Ledger) -> CarryOut:
    def carry(record: WeighingRecord) -> Verdict:
        lease = lease_of(ledger, record)
        verdict = apply_decision(record, settings, StepClock(lease))
        assert ledger.end(verdict, lease.token)
        return verdict

    return carry


def _run_tags(verdict: Verdict, project: str) -> list[str]:
    assert verdict.evidence
    return list(wandb.Api().run(f"{project}/{verdict.evidence.run_url.rpartition('/')[2]}").tags)


def _runs(project: str) -> int:
    return len(wandb.Api().runs(project))


def _version_tags(verdict: Verdict) -> list[str]:
    return list(wandb.Api().artifact(str(verdict.weighing.version)).tags)


def test_an_approved_version_is_promoted_and_says_by_whom(
    api: wandb.Api,
    asking: Gate,
    champion: EvaluatedChampion,
    waiting: Waiting,
    carried_out: CarryOut,
) -> None:
    record = waiting(_APPROVED)
    verdict = carried_out(record)
    assert (verdict.outcome, verdict.reason) == ("promoted", "Approved by ada: it is kind.")
    assert verdict.decision == _APPROVED
    assert record.verdict
    assert (verdict.checks, verdict.evidence) == (record.verdict.checks, record.verdict.evidence)
    assert verdict.seconds.promote > 0
    now = current_champion(api, asking)
    assert now
    assert now.record
    assert str(now.ref) == verdict.promoted_ref
    assert now.record.approved_by == "ada"
    assert now.record.champion == champion.evidence.version


def test_a_rejected_version_leaves_the_target_collection_alone(
    api: wandb.Api, asking: Gate, waiting: Waiting, carried_out: CarryOut
) -> None:
    record = waiting(_REJECTED)
    before = promoted_by(api, asking)
    verdict = carried_out(record)
    assert (verdict.outcome, verdict.reason) == ("rejected", "Rejected by ada: it is rude.")
    assert (verdict.decision, verdict.promoted_ref) == (_REJECTED, None)
    assert promoted_by(api, asking) == before
    assert current_champion(api, asking) == before[0]


@pytest.mark.parametrize(
    ("decision", "outcome"), [(_APPROVED, "promoted"), (_REJECTED, "rejected")]
)
def test_the_final_verdict_stands_where_the_waiting_one_stood(
    weave_project: WeaveClient,
    project: str,
    waiting: Waiting,
    carried_out: CarryOut,
    decision: Decision,
    outcome: Outcome,
) -> None:
    record = waiting(decision)
    runs = _runs(project)
    verdict = carried_out(record)
    assert verdict.evidence
    assert _runs(project) == runs
    assert _run_tags(verdict, project) == [f"weighbridge-{outcome}"]
    assert _version_tags(verdict) == [f"weighbridge-climate-rag-{outcome}"]
    assert recorded_verdict(weave_project, verdict.evidence.weave_call) == verdict


def test_nothing_is_promoted_over_a_champion_that_nobody_compared_it_with(
    run: wandb.Run,
    api: wandb.Api,
    asking: Gate,
    champion: EvaluatedChampion,
    waiting: Waiting,
    carried_out: CarryOut,
) -> None:
    record = waiting(_APPROVED)
    other = promoted(run, asking, "other")
    sentence = (
        f"It was compared with {champion.evidence.version}, and the champion of .* is {other}"
    )
    with pytest.raises(ConfigurationError, match=sentence):
        carried_out(record)
    now = current_champion(api, asking)
    assert now
    assert now.ref == other


def test_the_champion_itself_may_be_approved_again(
    api: wandb.Api,
    asking: Gate,
    champion: EvaluatedChampion,
    waiting: Waiting,
    carried_out: CarryOut,
) -> None:
    """As when the app team has changed the application around it: nothing was compared."""
    record = waiting(_APPROVED)
    carried_out(record)
    assert record.verdict
    assert record.verdict.evidence
    changed = {
        "champion": None,
        "rag_model": asking.rag_model.model_copy(update={"digest": "x" * 43}),
    }
    evidence = record.verdict.evidence.model_copy(update=changed)
    verdict = record.verdict.model_copy(update={"evidence": evidence})
    again = carried_out(record.model_copy(update={"verdict": verdict}))
    now = current_champion(api, asking)
    assert now
    assert now.record
    assert str(now.ref) == again.promoted_ref
    assert now.record.champion == champion.evidence.version


def test_a_worker_that_died_half_way_is_followed_by_one_that_finishes(
    api: wandb.Api,
    asking: Gate,
    champion: EvaluatedChampion,
    settings: Settings,
    ledger: Ledger,
    waiting: Waiting,
) -> None:
    record = waiting(_APPROVED)
    lease = lease_of(ledger, record)
    with pytest.raises(LeaseLostError):
        apply_decision(record, settings, _LostAfterPromotion(lease))
    half_way = promoted_by(api, asking)
    verdict = apply_decision(record, settings, StepClock(lease))
    done = promoted_by(api, asking)
    assert [one.ref for one in done] == [one.ref for one in half_way]
    assert str(done[0].ref) == verdict.promoted_ref
    assert done[0].record
    assert done[0].record.champion == champion.evidence.version
    assert _version_tags(verdict) == ["weighbridge-climate-rag-promoted"]
