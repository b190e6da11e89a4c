"""Verdicts and promotions that version 0.1.0 recorded in W&B and Weave are read and stand."""

from typing import Any

import pytest
import wandb
from weave.trace.weave_client import WeaveClient

from registry.calls import wandb_api
from registry.champions import current_champion, promoted_by
from registry.tags import verdict_tags
from schemas.gates import Gate
from worker.reweigh import reweigh

_TIMEOUT = 19.0  # seconds


@pytest.fixture
def api(old_project: str) -> wandb.Api:
    return wandb_api(_TIMEOUT)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_same_evidence_still_gives_the_same_verdict(
    old_weave: WeaveClient, old_gate: Gate, old_verdicts: list[dict[str, Any]], number: int
) -> None:
    printed = old_verdicts[number]
    again = reweigh(old_weave, printed["weave_call"], old_gate)
    assert again.stored.outcome == printed["verdict"]
    assert again.differing == []
    assert again.reason == printed["reason"]


def test_what_a_gate_promoted_is_found_by_its_record(
    api: wandb.Api, old_gate: Gate, old_verdicts: list[dict[str, Any]]
) -> None:
    latest, first = promoted_by(api, old_gate)
    assert [str(first.ref), str(latest.ref)] == [
        verdict["promoted_ref"] for verdict in old_verdicts if verdict["promoted_ref"]
    ]
    assert latest.record is not None
    assert latest.record.gate_digest == old_gate.digest
    assert str(latest.record.champion) == str(first.ref)


def test_the_champion_still_is_the_champion(
    api: wandb.Api, old_gate: Gate, old_verdicts: list[dict[str, Any]]
) -> None:
    champion = current_champion(api, old_gate)
    assert champion is not None
    assert str(champion.ref) == old_verdicts[2]["promoted_ref"]


def test_a_weighed_version_has_a_tag_that_the_poller_knows(
    api: wandb.Api, old_gate: Gate, old_verdicts: list[dict[str, Any]]
) -> None:
    for verdict in old_verdicts:
        assert verdict_tags(old_gate.name) & set(api.artifact(verdict["version"]).tags)
