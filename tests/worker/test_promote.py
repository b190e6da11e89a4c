"""What a promotion leaves in the target collection, and that it may be done again."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import wandb

from bus.lease import LeaseLostError
from bus.ledger import Ledger
from registry.calls import wandb_api
from registry.champions import PromotedVersion, current_champion
from schemas.errors import ConfigurationError, PlatformError
from schemas.events import WeighingId
from schemas.gates import EarlyStop, Gate, Promotion
from schemas.promotions import PromotionRecord
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.thresholds import AtLeast, NoWorseThan
from schemas.verdicts import Check, Comparison, Decision, Evidence, Verdict
from schemas.weighings import WeighingRecord
from tests.worker.weighed import allowed, lease_of, weighing_of
from worker.promote import ChampionCheck, promote, promote_exclusively, require_same_champion
from worker.steps import StepClock

PromoteLocked = Callable[[Verdict, ChampionCheck], ArtifactRef]

_TIMEOUT = 19.0
_DIGEST = "cqRaGKcxutBWXyM0fCGTR1Yk2mISLsNari4wlGTwERo"
_OTHER = "x7MzcgHDrGXYHHDQ9BA8N89qDwcGkdSdpxH30ubm8ZM"
_COMPARISON = Comparison(
    champion=0.5,
    difference=1 / 3,
    interval=(0.1 + 0.2, 0.5),
    confidence=0.95,
    method="paired bootstrap, BCa",
    detectable=0.05,
    rows=66,
)
_CHECKS = (
    Check(threshold=AtLeast(metric="correct.mean", at_least=0.5), value=5 / 6, passed=True),
    Check(
        threshold=NoWorseThan(metric="correct.mean", no_worse_than="champion"),
        value=5 / 6,
        passed=True,
        comparison=_COMPARISON,
    ),
)


@pytest.fixture
def promoting(gate: Gate, target: str) -> Gate:
    return gate.model_copy(update={"promote": Promotion(to=target, aliases=("production",))})


@pytest.fixture
def api(project: str) -> wandb.Api:
    return wandb_api(_TIMEOUT)


@pytest.fixture
def verdict(project: str, weighing: WeighingId) -> Verdict:
    evidence = Evidence(
        weave_call="0197",
        weave_url="http://127.0.0.1/call",
        run_url="http://127.0.0.1/run",
        rag_model=f"weave:///{project}/object/RagModel:{_DIGEST}",
        evaluation=f"weave:///{project}/object/climate_rag_eval:abc",
        dataset=f"weave:///{project}/object/questions:abc",
        rows=66,
        of_rows=66,
    )
    return Verdict(
        weighing=weighing,
        source="webhook",
        outcome="promoted",
        reason="All 2 thresholds hold.",
        checks=_CHECKS,
        evidence=evidence,
    )


def _of_another(verdict: Verdict) -> Verdict:
    """The verdict on the next version, of another RagModel version."""
    assert verdict.evidence
    rag_model = verdict.evidence.rag_model.model_copy(update={"digest": _OTHER})
    evidence = verdict.evidence.model_copy(update={"rag_model": rag_model})
    weighing = verdict.weighing.model_copy(update={"number": verdict.weighing.number + 1})
    return verdict.model_copy(update={"evidence": evidence, "weighing": weighing})


def _weighing(gate: Gate, verdict: Verdict) -> WeighingRecord:
    return weighing_of(gate, verdict.weighing.version)


def _promoted(api: wandb.Api, run: wandb.Run, gate: Gate, verdict: Verdict) -> ArtifactRef:
    """Promote over whoever is the champion now, as the pipeline does."""
    weighing = _weighing(gate, verdict)
    return promote(run, weighing, verdict, current_champion(api, gate), allowed)


def _again(api: wandb.Api, run: wandb.Run, gate: Gate, verdict: Verdict) -> ArtifactRef:
    """Promote in another weighing, opened just now."""
    weighing = _weighing(gate, verdict).model_copy(update={"opened_at": datetime.now(UTC)})
    return promote(run, weighing, verdict, current_champion(api, gate), allowed)


def _held(api: wandb.Api, gate: Gate) -> PromotedVersion:
    held = current_champion(api, gate)
    assert held
    return held


def _record(api: wandb.Api, gate: Gate) -> PromotionRecord:
    record = _held(api, gate).record
    assert record
    return record


def test_the_target_holds_a_reference_to_the_weighed_rag_model(
    run: wandb.Run, api: wandb.Api, project: str, promoting: Gate, verdict: Verdict
) -> None:
    version = _promoted(api, run, promoting, verdict)
    held = _held(api, promoting)
    assert verdict.evidence
    assert (held.ref, held.rag_model) == (version, verdict.evidence.rag_model)
    source = api.artifact(f"{project}/RagModel:{_DIGEST}")
    assert source.id == api.artifact(str(version)).id
    assert source.logged_by().id == run.id


def test_the_promoted_version_records_why_it_was_promoted(
    run: wandb.Run, api: wandb.Api, promoting: Gate, verdict: Verdict
) -> None:
    _promoted(api, run, promoting, verdict)
    record = _record(api, promoting)
    assert record.checks == _CHECKS
    assert record.chat_model == verdict.weighing.version
    assert (record.gate, record.gate_digest) == (promoting.name, promoting.digest)
    assert record.url.endswith(f"/weave/objects/RagModel/versions/{_DIGEST}")
    assert (record.weave_call, record.run) == ("0197", run.path)
    assert record.versions["wandb"] == wandb.__version__
    assert (record.champion, record.approved_by) == (None, None)


def test_the_approver_is_recorded(
    run: wandb.Run, api: wandb.Api, promoting: Gate, verdict: Verdict
) -> None:
    decision = Decision(approved=True, by="ada", at=datetime(2026, 1, 31, tzinfo=UTC))
    _promoted(api, run, promoting, verdict.model_copy(update={"decision": decision}))
    assert _record(api, promoting).approved_by == "ada"


def test_promoting_twice_changes_nothing(
    run: wandb.Run, api: wandb.Api, promoting: Gate, verdict: Verdict
) -> None:
    first = _promoted(api, run, promoting, verdict)
    before = _record(api, promoting)
    assert _promoted(api, run, promoting, verdict.model_copy(update={"checks": ()})) == first
    assert _record(api, promoting) == before


def test_a_changed_gate_replaces_the_promotion_record(
    run: wandb.Run, api: wandb.Api, promoting: Gate, verdict: Verdict
) -> None:
    _promoted(api, run, promoting, verdict)
    stricter = promoting.model_copy(update={"early_stop": EarlyStop()})
    _promoted(api, run, stricter, verdict.model_copy(update={"checks": ()}))
    assert _record(api, promoting).gate_digest == stricter.digest
    assert _record(api, promoting).checks == ()


def test_the_alias_moves_and_the_previous_champion_is_recorded(
    run: wandb.Run, api: wandb.Api, promoting: Gate, verdict: Verdict
) -> None:
    first = _promoted(api, run, promoting, verdict)
    second = _promoted(api, run, promoting, _of_another(verdict))
    assert (first.version, second.version) == ("v0", "v1")
    assert _held(api, promoting).ref == second
    assert _record(api, promoting).champion == first


def test_the_champion_itself_keeps_its_previous_champion(
    run: wandb.Run, api: wandb.Api, promoting: Gate, verdict: Verdict
) -> None:
    first = _promoted(api, run, promoting, verdict)
    for _ in range(2):
        _promoted(api, run, promoting, _of_another(verdict))
    assert _record(api, promoting).champion == first


def test_a_version_that_was_displaced_may_be_promoted_again(
    run: wandb.Run, api: wandb.Api, promoting: Gate, verdict: Verdict
) -> None:
    first = _promoted(api, run, promoting, verdict)
    second = _promoted(api, run, promoting, _of_another(verdict))
    assert _again(api, run, promoting, verdict) == first
    assert _held(api, promoting).ref == first
    assert _record(api, promoting).champion == second


def _killed_at(
    effect: int,
    api: wandb.Api,
    run: wandb.Run,
    weighing: WeighingRecord,
    verdict: Verdict,
) -> None:
    """An attempt whose worker is killed when it is about to have an effect, the first being 0."""
    checks = iter([*[None] * effect, LeaseLostError("killed")])

    def check() -> None:
        if error := next(checks):
            raise error

    with suppress(LeaseLostError):
        promote(run, weighing, verdict, current_champion(api, weighing.gate), check)


@pytest.mark.parametrize("effect", [0, 1, 2])
def test_a_killed_workers_promotion_is_finished_by_another(
    run: wandb.Run, api: wandb.Api, project: str, promoting: Gate, verdict: Verdict, effect: int
) -> None:
    before = _promoted(api, run, promoting, _of_another(verdict))
    _killed_at(effect, api, run, _weighing(promoting, verdict), verdict)
    begun = _logged(api, project)
    now = _promoted(api, run, promoting, verdict.model_copy(update={"checks": ()}))
    held = _held(api, promoting)
    assert (held.ref, now.version) == (now, "v1")
    assert _record(api, promoting).champion == before
    if begun:  # what the first attempt found stands
        assert held.record == begun
    assert len(api.artifact_collection("model", f"{project}/RagModel").artifacts()) == 2


def _logged(api: wandb.Api, project: str) -> PromotionRecord | None:
    """What the reference says before it is linked."""
    name = f"{project}/RagModel:{_DIGEST}"
    return (
        PromotionRecord.from_metadata(api.artifact(name).metadata)
        if api.artifact_exists(name)
        else None
    )


@pytest.mark.parametrize("effect", [0, 1, 2, 3])
def test_a_killed_worker_leaves_no_gap_when_a_version_is_promoted_again(
    run: wandb.Run, api: wandb.Api, promoting: Gate, verdict: Verdict, effect: int
) -> None:
    first = _promoted(api, run, promoting, verdict)
    second = _promoted(api, run, promoting, _of_another(verdict))
    weighing = _weighing(promoting, verdict).model_copy(update={"opened_at": datetime.now(UTC)})
    _killed_at(effect, api, run, weighing, verdict)
    assert promote(run, weighing, verdict, current_champion(api, promoting), allowed) == first
    assert _held(api, promoting).ref == first
    assert _record(api, promoting).champion == second


@pytest.fixture
def promote_locked(
    run: wandb.Run, api: wandb.Api, promoting: Gate, settings: Settings, ledger: Ledger
) -> PromoteLocked:
    """Promote under the promotion lock, as a worker that has just claimed the weighing."""

    def promote_one(verdict: Verdict, check_champion: ChampionCheck) -> ArtifactRef:
        weighing = _weighing(promoting, verdict)
        clock = StepClock(lease_of(ledger, weighing))
        return promote_exclusively(run, api, weighing, verdict, check_champion, settings, clock)

    return promote_one


def test_a_promotion_that_another_one_followed_is_not_repeated(
    run: wandb.Run, api: wandb.Api, promoting: Gate, verdict: Verdict, promote_locked: PromoteLocked
) -> None:
    """Its worker was killed before it could say that it had promoted."""

    def refuse(now: PromotedVersion | None) -> None:
        raise AssertionError(f"checked {now}")

    first = _promoted(api, run, promoting, verdict)
    before = _record(api, promoting)
    second = _promoted(api, run, promoting, _of_another(verdict))
    assert promote_locked(verdict, refuse) == first
    assert _held(api, promoting).ref == second
    assert _record(api, promoting).champion == first
    assert PromotionRecord.from_metadata(api.artifact(str(first)).metadata) == before


def test_a_champion_of_another_gate_keeps_the_chain_of_champions(
    run: wandb.Run, api: wandb.Api, promoting: Gate, verdict: Verdict
) -> None:
    before = _promoted(api, run, promoting, _of_another(verdict))
    _promoted(api, run, promoting.model_copy(update={"name": "other"}), verdict)
    _promoted(api, run, promoting, verdict)
    assert _record(api, promoting).gate == promoting.name
    assert _record(api, promoting).champion == before


def test_of_two_promotions_at_once_the_second_displaces_the_first(
    api: wandb.Api, promoting: Gate, verdict: Verdict, promote_locked: PromoteLocked
) -> None:
    def promote_one(one: Verdict) -> ArtifactRef:
        return promote_locked(one, lambda _champion: None)

    with ThreadPoolExecutor() as workers:
        refs = set(workers.map(promote_one, [verdict, _of_another(verdict)]))
    held = _held(api, promoting)
    (loser,) = refs - {held.ref}
    assert _record(api, promoting).champion == loser


def test_a_refused_promotion_changes_nothing(
    run: wandb.Run,
    api: wandb.Api,
    project: str,
    promoting: Gate,
    verdict: Verdict,
    promote_locked: PromoteLocked,
) -> None:
    def refuse(now: PromotedVersion | None) -> None:
        require_same_champion(promoting, None, now)

    first = _promoted(api, run, promoting, _of_another(verdict))
    with pytest.raises(PlatformError, match="was no version when"):
        promote_locked(verdict, refuse)
    assert _held(api, promoting).ref == first
    assert _logged(api, project) is None


def test_a_missing_target_registry_is_named(
    run: wandb.Run, api: wandb.Api, gate: Gate, verdict: Verdict
) -> None:
    to = "wandb32/wandb-registry-Nowhere/RAG Model"
    astray = gate.model_copy(update={"promote": Promotion(to=to)})
    with pytest.raises(ConfigurationError, match="link the promoted version to wandb32/wandb-reg"):
        promote(run, _weighing(astray, verdict), verdict, None, allowed)


def test_a_version_may_only_displace_the_champion_that_it_was_compared_with(
    run: wandb.Run, api: wandb.Api, promoting: Gate, verdict: Verdict
) -> None:
    require_same_champion(promoting, None, None)
    first = _promoted(api, run, promoting, verdict)
    held = _held(api, promoting)
    require_same_champion(promoting, held, held)
    with pytest.raises(PlatformError, match=f"was no version when .* and is {first} now"):
        require_same_champion(promoting, None, held)
    second = _promoted(api, run, promoting, _of_another(verdict))
    with pytest.raises(PlatformError, match=f"was {first} when .* and is {second} now"):
        require_same_champion(promoting, held, _held(api, promoting))
