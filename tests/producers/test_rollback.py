from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import redis
import wandb
import yaml

from bus.bus import Bus
from bus.connection import connect
from bus.ledger import Ledger
from producers.rollback import Rollback, rollback
from rehearsal.redis_server import free_port
from schemas.errors import ConfigurationError
from schemas.gates import Gate, GateFile, Promotion
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from tests.promoted import link_reference, promoted

_ALIASES = ("production", "champion")
_UNALIASED = "unaliased"


@pytest.fixture
def promoting(gate: Gate, settings: Settings, registry: Callable[[str], str]) -> Gate:
    """A gate with two aliases in a target collection for this test only."""
    target = f"{registry('RAG Models')}/{uuid4().hex[:8]}"
    ours = gate.model_copy(update={"promote": Promotion(to=target, aliases=_ALIASES)})
    unaliased = gate.model_copy(update={"name": _UNALIASED})
    text = yaml.safe_dump(GateFile(gates=(ours, unaliased)).model_dump(mode="json"))
    settings.gates_path.write_text(text)
    return ours


@pytest.fixture
def three(run: wandb.Run, promoting: Gate) -> list[ArtifactRef]:
    """Three versions, each promoted over the one before."""
    versions: list[ArtifactRef] = []
    for day in (1, 2, 3):
        before = versions[-1] if versions else None
        versions.append(promoted(run, promoting, str(day), champion=before, day=day))
    return versions


@pytest.fixture
def roll_back(bus: Bus, promoting: Gate) -> Callable[..., Rollback]:
    def call(to: str | None = None, *, name: str = promoting.name) -> Rollback:
        return rollback(bus, name, to=to, by="ada", why="it is rude")

    return call


def _aliases(version: ArtifactRef) -> set[str]:
    return set(wandb.Api().artifact(str(version)).aliases)


def _metadata(version: ArtifactRef) -> dict[str, Any]:
    return dict(wandb.Api().artifact(str(version)).metadata)


def test_all_aliases_move_to_the_previous_champion(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef]
) -> None:
    _, before, latest = three
    done = roll_back()
    assert (done.to, done.moved) == (str(before), dict.fromkeys(_ALIASES, str(latest)))
    assert _aliases(before) == set(_ALIASES)
    assert _aliases(latest) == {"latest"}


def test_repeating_a_rollback_changes_nothing(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef], ledger: Ledger
) -> None:
    first = roll_back()
    known = _metadata(three[2]), ledger.audit()
    again = roll_back()
    assert (again.to, again.moved) == (first.to, {})
    assert (_metadata(three[2]), ledger.audit()) == known


def test_an_interrupted_rollback_is_completed_by_the_next(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef]
) -> None:
    _, before, latest = three
    half = wandb.Api().artifact(str(before))
    half.aliases = [*half.aliases, _ALIASES[0]]
    half.save()
    assert roll_back().moved == {_ALIASES[1]: str(latest)}
    assert _aliases(before) == set(_ALIASES)


def test_a_deleted_alias_is_restored(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef]
) -> None:
    latest = wandb.Api().artifact(str(three[2]))
    latest.aliases = [alias for alias in latest.aliases if alias != _ALIASES[0]]
    latest.save()
    assert roll_back().moved == {_ALIASES[0]: None, _ALIASES[1]: str(three[2])}
    assert _aliases(three[1]) == set(_ALIASES)


def test_the_version_keeps_its_metadata_and_records_person_and_reason(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef]
) -> None:
    before = _metadata(three[2])
    roll_back()
    after = _metadata(three[2])
    record = after.pop("rolled_back")
    assert after == before
    assert (record["by"], record["why"], record["to"]) == ("ada", "it is rude", str(three[1]))


def test_the_audit_records_person_and_reason(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef], promoting: Gate, ledger: Ledger
) -> None:
    roll_back()
    (line,) = ledger.audit()
    assert (line.id, line.state) == (promoting.name, "rolled back")
    assert f"champion from {three[2]} to {three[1]} by ada: it is rude" in line.note


def test_nothing_moves_if_it_cannot_be_recorded(
    bus: Bus, three: list[ArtifactRef], promoting: Gate
) -> None:
    nowhere = Ledger(connect(f"redis://127.0.0.1:{free_port()}/0"), bus.settings.lease)
    with pytest.raises(redis.ConnectionError):
        rollback(replace(bus, ledger=nowhere), promoting.name, to=None, by="ada", why="")
    assert _aliases(three[2]) == {"latest", *_ALIASES}


def test_a_version_that_regains_the_aliases_loses_its_rollback_record(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef]
) -> None:
    before = _metadata(three[2])
    roll_back()
    assert roll_back("v2").to == str(three[2])
    assert _metadata(three[2]) == before
    assert _aliases(three[2]) == {"latest", *_ALIASES}


def test_a_named_version_gets_the_aliases(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef]
) -> None:
    assert roll_back("v0").moved == dict.fromkeys(_ALIASES, str(three[2]))
    assert _aliases(three[0]) == set(_ALIASES)


@pytest.mark.parametrize(
    ("name", "to", "message"),
    [
        ("climate-rag", "v9", "could not read version .*:v9"),
        ("climate-rag", "v3", r":v3 was never promoted by gate 'climate-rag'\. It promoted v2, v1"),
        ("climate-rag", "v4", r":v4 was never promoted by gate 'climate-rag'"),
        ("nobody", None, "There is no gate 'nobody'"),
        (_UNALIASED, None, f"Gate '{_UNALIASED}' moves no aliases"),
    ],
)
def test_an_unpromoted_version_is_refused_and_nothing_moves(
    roll_back: Callable[..., Rollback],
    three: list[ArtifactRef],
    run: wandb.Run,
    promoting: Gate,
    ledger: Ledger,
    name: str,
    to: str | None,
    message: str,
) -> None:
    silent = promoting.model_copy(
        update={"name": "other", "promote": Promotion(to=promoting.promote.to)}
    )
    promoted(run, silent, "theirs", day=4)
    link_reference(run, silent, "by hand", {})
    with pytest.raises(ConfigurationError, match=message):
        roll_back(to, name=name)
    assert _aliases(three[2]) == set(_ALIASES)
    assert ledger.audit() == []


def test_a_previous_champion_of_another_gate_is_refused(
    roll_back: Callable[..., Rollback], run: wandb.Run, promoting: Gate
) -> None:
    theirs = promoted(run, promoting.model_copy(update={"name": "other"}), "theirs", day=1)
    promoted(run, promoting, "ours", champion=theirs, day=2)
    with pytest.raises(ConfigurationError, match=":v0 was never promoted by gate 'climate-rag'"):
        roll_back()


def test_the_first_version_has_no_previous_champion(
    roll_back: Callable[..., Rollback], run: wandb.Run, promoting: Gate
) -> None:
    promoted(run, promoting, "one")
    with pytest.raises(
        ConfigurationError, match=r"no previous champion: .*:v0 replaced no version"
    ):
        roll_back()


def test_a_champion_that_was_promoted_again_has_no_previous_champion(
    roll_back: Callable[..., Rollback], run: wandb.Run, promoting: Gate
) -> None:
    promoted(run, promoting, "one", day=1)
    champion = promoted(run, promoting, "two", day=2)
    promoted(run, promoting, "two", champion=champion, day=3)
    with pytest.raises(
        ConfigurationError, match=r"no previous champion: .*:v1 replaced no version"
    ):
        roll_back()


def test_a_gate_without_promotions_cannot_be_rolled_back(
    roll_back: Callable[..., Rollback], run: wandb.Run, promoting: Gate
) -> None:
    link_reference(run, promoting, "by hand", {})
    with pytest.raises(
        ConfigurationError, match="no previous champion: it has promoted no version"
    ):
        roll_back()


def test_a_version_promoted_after_a_rollback_replaces_the_restored_one(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef], run: wandb.Run, promoting: Gate
) -> None:
    to = ArtifactRef.parse(roll_back().to)
    promoted(run, promoting, "4", champion=to, day=4)
    assert roll_back().to == str(to)
