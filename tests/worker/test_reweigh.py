"""A stored verdict is reached again from Weave alone, and what differs is named."""

from typing import Any

import pytest
import wandb
from weave.trace.weave_client import WeaveClient

from schemas.errors import ConfigurationError, EvidenceError
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.verdicts import Verdict
from tests.worker.weighed import champion_of, evaluated, gate_of, verdict_of
from worker.champion import EvaluatedChampion
from worker.publishing import record_verdict
from worker.reweigh import Reweighed, reweigh
from worker.verdict.checks import ITSELF, NO_CHAMPION, check_thresholds


@pytest.fixture
def weighed_by(weave_project: WeaveClient, target: str) -> Gate:
    return gate_of(weave_project, target)


@pytest.fixture
def champion(weave_project: WeaveClient, run: wandb.Run, target: str) -> EvaluatedChampion:
    found = evaluated(weave_project, run, knows=7)
    return champion_of(ArtifactRef.parse(f"{target}:v0"), found)


def _recorded(
    client: WeaveClient,
    run: wandb.Run,
    gate: Gate,
    version: ArtifactRef,
    champion: EvaluatedChampion | None,
) -> Verdict:
    verdict = verdict_of(gate, version, run, evaluated(client, run, knows=10), champion)
    assert verdict.evidence
    record_verdict(client, verdict.evidence.weave_call, verdict)
    return verdict


@pytest.fixture
def stored(
    weave_project: WeaveClient,
    run: wandb.Run,
    weighed_by: Gate,
    version: ArtifactRef,
    champion: EvaluatedChampion,
) -> Verdict:
    """A verdict beside a champion."""
    return _recorded(weave_project, run, weighed_by, version, champion)


def _again(client: WeaveClient, verdict: Verdict, gate: Gate) -> Reweighed:
    assert verdict.evidence
    return reweigh(client, verdict.evidence.weave_call, gate)


def _with(gate: Gate, thresholds: list[dict[str, Any]]) -> Gate:
    return Gate.model_validate(gate.model_dump() | {"thresholds": thresholds})


def _thresholds(gate: Gate) -> list[dict[str, Any]]:
    return [one.model_dump() for one in gate.thresholds]


def test_the_same_gate_reaches_the_same_verdict(
    weave_project: WeaveClient, stored: Verdict, weighed_by: Gate
) -> None:
    again = _again(weave_project, stored, weighed_by)
    assert again.stored == stored
    assert again.checks == stored.checks
    assert [bool(check.comparison) for check in again.checks] == [False, True, True]
    assert (again.outcome, again.reason) == (stored.outcome, stored.reason)
    assert again.differing == []


def test_a_changed_bound_is_named_with_both_values(
    weave_project: WeaveClient, stored: Verdict, weighed_by: Gate
) -> None:
    first, *others = _thresholds(weighed_by)
    gate = _with(weighed_by, [first | {"at_least": 0.9}, *others])
    again = _again(weave_project, stored, gate)
    assert again.differing == [
        "correct.true_fraction >= 0.5: no longer in the gate",
        "correct.true_fraction >= 0.9: new in the gate",
    ]
    assert (stored.outcome, again.outcome) == ("promoted", "rejected")


def test_added_and_removed_thresholds_are_named(
    weave_project: WeaveClient, stored: Verdict, weighed_by: Gate
) -> None:
    first, second, _ = _thresholds(weighed_by)
    gate = _with(weighed_by, [first, second, {"metric": "similar.mean", "at_least": 0.1}])
    assert _again(weave_project, stored, gate).differing == [
        "correct.true_fraction no worse than champion by 0.9 (95%): no longer in the gate",
        "similar.mean >= 0.1: new in the gate",
    ]


def test_a_check_that_differs_from_the_stored_one_is_named_with_its_numbers(
    weave_project: WeaveClient, stored: Verdict, weighed_by: Gate
) -> None:
    first, second, third = stored.checks
    assert second.comparison
    comparison = second.comparison.model_copy(update={"interval": (-0.25, 0.25)})
    forged = (
        first.model_copy(update={"value": 0.4, "passed": False}),
        second.model_copy(update={"comparison": comparison}),
        third,
    )
    assert stored.evidence
    recorded = stored.model_copy(update={"checks": forged})
    record_verdict(weave_project, stored.evidence.weave_call, recorded)
    value, interval = _again(weave_project, stored, weighed_by).differing
    assert value == ("correct.true_fraction >= 0.5: was 0.4 (failed), is 0.833333 (passed)")
    assert interval.startswith("similar.mean no worse than champion by 0.5 (95%): was 0.")
    assert " -0.25 +0.25 (passed), is 0." in interval


@pytest.mark.parametrize("note", [NO_CHAMPION, ITSELF])
def test_a_verdict_without_a_champion_is_reached_again(
    weave_project: WeaveClient, run: wandb.Run, weighed_by: Gate, version: ArtifactRef, note: str
) -> None:
    """Also where another check has a note, which is no reason to have no champion."""
    first, *others = _thresholds(weighed_by)
    gate = _with(weighed_by, [first | {"min_rows": 100}, *others])
    found = evaluated(weave_project, run, knows=10)
    verdict = verdict_of(gate, version, run, found)
    verdict = verdict.model_copy(update={"checks": check_thresholds(gate, found, no_champion=note)})
    record_verdict(weave_project, found.call, verdict)
    again = _again(weave_project, verdict, gate)
    assert again.differing == []
    assert [check.note for check in again.checks[1:]] == [note, note]


def test_a_gate_that_now_compares_with_the_champion_needs_another_weighing(
    weave_project: WeaveClient, run: wandb.Run, weighed_by: Gate, version: ArtifactRef
) -> None:
    absolute = _with(weighed_by, _thresholds(weighed_by)[:1])
    verdict = _recorded(weave_project, run, absolute, version, None)
    with pytest.raises(ConfigurationError, match=f"verdict on {version} was reached without"):
        _again(weave_project, verdict, weighed_by)


def test_an_evaluation_without_a_verdict_is_an_error(
    weave_project: WeaveClient, run: wandb.Run, weighed_by: Gate
) -> None:
    call = evaluated(weave_project, run, knows=1).call
    with pytest.raises(ConfigurationError, match=f"No verdict was recorded on .* {call}"):
        reweigh(weave_project, call, weighed_by)


@pytest.mark.parametrize("whose", ["the version's", "the champion's"])
def test_deleted_evidence_is_an_error(
    weave_project: WeaveClient,
    stored: Verdict,
    weighed_by: Gate,
    champion: EvaluatedChampion,
    whose: str,
) -> None:
    assert stored.evidence
    call = champion.evaluated.call if whose == "the champion's" else stored.evidence.weave_call
    weave_project.delete_calls([call])
    with pytest.raises(EvidenceError, match=f"There is no Weave call {call}"):
        _again(weave_project, stored, weighed_by)
