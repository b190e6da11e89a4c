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
Apply = Callable[[WeighingRecord], Verdict]


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
def approval_gate(weave_project: WeaveClient, target: str) -> Gate:
    return gate_of(weave_project, target, approval="required")


@pytest.fixture
def champion(
    weave_project: WeaveClient, run: wandb.Run, api: wandb.Api, approval_gate: Gate
) -> EvaluatedChampion:
    """The champion, promoted by an evaluation of its own."""
    version = ArtifactRef.parse("wandb32/wandb-registry-RAG Chat Models/champion:v0")
    found = evaluated(weave_project, run, knows=8)
    verdict = verdict_of(approval_gate, version, run, found, of="promoted")
    weighing = weighing_of(approval_gate, version)
    return champion_of(promote(run, weighing, verdict, None, allowed), found)


@pytest.fixture
def waiting(
    weave_project: WeaveClient,
    api: wandb.Api,
    approval_gate: Gate,
    champion: EvaluatedChampion,
    link: Callable[..., str],
    settings: Settings,
) -> Waiting:
    """A weighing that was announced as awaiting approval, with a decision."""

    def decided(decision: Decision) -> WeighingRecord:
        version = ArtifactRef.parse(link(uuid4().hex, f"waiting {uuid4().hex[:8]}"))
        record = weighing_of(approval_gate, version)
        with evaluation_run(record, settings) as run:
            found = evaluated(weave_project, run, knows=10)
            verdict = verdict_of(
                approval_gate, version, run, found, champion, of="awaiting approval"
            )
            predictions = Predictions.of(approval_gate, found.rows, champion.evaluated.rows)
            published = publish_verdict(
                weave_project, run, api, approval_gate, verdict, predictions, settings
            )
        return record.model_copy(update={"verdict": published, "decision": decision})

    return decided


@pytest.fixture
def apply(settings: Settings, ledger: Ledger) -> Apply:
    def apply_one(record: WeighingRecord) -> Verdict:
        lease = lease_of(ledger, record)
        verdict = apply_decision(record, settings, StepClock(lease))
        assert ledger.end(verdict, lease.token)
        return verdict

    return apply_one


def _run_tags(verdict: Verdict, project: str) -> list[str]:
    assert verdict.evidence
    return list(wandb.Api().run(f"{project}/{verdict.evidence.run_url.rpartition('/')[2]}").tags)


def _runs(project: str) -> int:
    return len(wandb.Api().runs(project))


def _version_tags(verdict: Verdict) -> list[str]:
    return list(wandb.Api().artifact(str(verdict.weighing.version)).tags)


def test_an_approved_version_is_promoted_and_names_the_approver(
    api: wandb.Api,
    approval_gate: Gate,
    champion: EvaluatedChampion,
    waiting: Waiting,
    apply: Apply,
) -> None:
    record = waiting(_APPROVED)
    verdict = apply(record)
    assert (verdict.outcome, verdict.reason) == ("promoted", "Approved by ada: it is kind.")
    assert verdict.decision == _APPROVED
    assert record.verdict
    assert (verdict.checks, verdict.evidence) == (record.verdict.checks, record.verdict.evidence)
    assert verdict.seconds.promote > 0
    now = current_champion(api, approval_gate)
    assert now
    assert now.record
    assert str(now.ref) == verdict.promoted_ref
    assert now.record.approved_by == "ada"
    assert now.record.champion == champion.evidence.version


def test_a_rejected_version_leaves_the_target_collection_alone(
    api: wandb.Api, approval_gate: Gate, waiting: Waiting, apply: Apply
) -> None:
    record = waiting(_REJECTED)
    before = promoted_by(api, approval_gate)
    verdict = apply(record)
    assert (verdict.outcome, verdict.reason) == ("rejected", "Rejected by ada: it is rude.")
    assert (verdict.decision, verdict.promoted_ref) == (_REJECTED, None)
    assert promoted_by(api, approval_gate) == before
    assert current_champion(api, approval_gate) == before[0]


@pytest.mark.parametrize(
    ("decision", "outcome"), [(_APPROVED, "promoted"), (_REJECTED, "rejected")]
)
def test_the_final_verdict_replaces_the_one_that_awaited_approval(
    weave_project: WeaveClient,
    project: str,
    waiting: Waiting,
    apply: Apply,
    decision: Decision,
    outcome: Outcome,
) -> None:
    record = waiting(decision)
    runs = _runs(project)
    verdict = apply(record)
    assert verdict.evidence
    assert _runs(project) == runs
    assert _run_tags(verdict, project) == [f"weighbridge-{outcome}"]
    assert _version_tags(verdict) == [f"weighbridge-climate-rag-{outcome}"]
    assert recorded_verdict(weave_project, verdict.evidence.weave_call) == verdict


def test_a_version_is_not_promoted_over_a_champion_that_it_was_not_compared_with(
    run: wandb.Run,
    api: wandb.Api,
    approval_gate: Gate,
    champion: EvaluatedChampion,
    waiting: Waiting,
    apply: Apply,
) -> None:
    record = waiting(_APPROVED)
    other = promoted(run, approval_gate, "other")
    sentence = (
        f"It was compared with {champion.evidence.version}, and the champion of .* is {other}"
    )
    with pytest.raises(ConfigurationError, match=sentence):
        apply(record)
    now = current_champion(api, approval_gate)
    assert now
    assert now.ref == other


def test_the_champion_itself_may_be_approved_again(
    api: wandb.Api,
    approval_gate: Gate,
    champion: EvaluatedChampion,
    waiting: Waiting,
    apply: Apply,
) -> None:
    """As when the app team has changed the application around it: nothing was compared."""
    record = waiting(_APPROVED)
    apply(record)
    assert record.verdict
    assert record.verdict.evidence
    changed = {
        "champion": None,
        "rag_model": approval_gate.rag_model.model_copy(update={"digest": "x" * 43}),
    }
    evidence = record.verdict.evidence.model_copy(update=changed)
    verdict = record.verdict.model_copy(update={"evidence": evidence})
    again = apply(record.model_copy(update={"verdict": verdict}))
    now = current_champion(api, approval_gate)
    assert now
    assert now.record
    assert str(now.ref) == again.promoted_ref
    assert now.record.champion == champion.evidence.version


def test_an_interrupted_promotion_is_finished_by_the_next_attempt(
    api: wandb.Api,
    approval_gate: Gate,
    champion: EvaluatedChampion,
    settings: Settings,
    ledger: Ledger,
    waiting: Waiting,
) -> None:
    record = waiting(_APPROVED)
    lease = lease_of(ledger, record)
    with pytest.raises(LeaseLostError):
        apply_decision(record, settings, _LostAfterPromotion(lease))
    interrupted = promoted_by(api, approval_gate)
    verdict = apply_decision(record, settings, StepClock(lease))
    done = promoted_by(api, approval_gate)
    assert [one.ref for one in done] == [one.ref for one in interrupted]
    assert str(done[0].ref) == verdict.promoted_ref
    assert done[0].record
    assert done[0].record.champion == champion.evidence.version
    assert _version_tags(verdict) == ["weighbridge-climate-rag-promoted"]
