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
    """A gate with two aliases in a target collection of this test only."""
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


def test_all_aliases_go_back_to_the_champion_that_was_displaced(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef]
) -> None:
    _, before, latest = three
    done = roll_back()
    assert (done.to, done.moved) == (str(before), dict.fromkeys(_ALIASES, str(latest)))
    assert _aliases(before) == set(_ALIASES)
    assert _aliases(latest) == {"latest"}


def test_a_rollback_that_is_repeated_changes_nothing_more(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef], ledger: Ledger
) -> None:
    first = roll_back()
    known = _metadata(three[2]), ledger.audit()
    again = roll_back()
    assert (again.to, again.moved) == (first.to, {})
    assert (_metadata(three[2]), ledger.audit()) == known


def test_a_rollback_that_broke_half_way_is_finished_by_the_next(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef]
) -> None:
    _, before, latest = three
    half = wandb.Api().artifact(str(before))
    half.aliases = [*half.aliases, _ALIASES[0]]
    half.save()
    assert roll_back().moved == {_ALIASES[1]: str(latest)}
    assert _aliases(before) == set(_ALIASES)


def test_an_alias_that_somebody_deleted_is_given_back(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef]
) -> None:
    latest = wandb.Api().artifact(str(three[2]))
    latest.aliases = [alias for alias in latest.aliases if alias != _ALIASES[0]]
    latest.save()
    assert roll_back().moved == {_ALIASES[0]: None, _ALIASES[1]: str(three[2])}
    assert _aliases(three[1]) == set(_ALIASES)


def test_who_and_why_stand_on_the_version_beside_all_that_it_said_before(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef]
) -> None:
    before = _metadata(three[2])
    roll_back()
    after = _metadata(three[2])
    told = after.pop("rolled_back")
    assert after == before
    assert (told["by"], told["why"], told["to"]) == ("ada", "it is rude", str(three[1]))


def test_who_and_why_stand_in_the_audit(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef], promoting: Gate, ledger: Ledger
) -> None:
    roll_back()
    (line,) = ledger.audit()
    assert (line.id, line.state) == (promoting.name, "rolled back")
    assert f"champion from {three[2]} to {three[1]} by ada: it is rude" in line.note


def test_nothing_moves_that_cannot_be_recorded(
    bus: Bus, three: list[ArtifactRef], promoting: Gate
) -> None:
    nowhere = Ledger(connect(f"redis://127.0.0.1:{free_port()}/0"), bus.settings.lease)
    with pytest.raises(redis.ConnectionError):
        rollback(replace(bus, ledger=nowhere), promoting.name, to=None, by="ada", why="")
    assert _aliases(three[2]) == {"latest", *_ALIASES}


def test_a_version_that_gets_the_aliases_again_is_rolled_back_no_more(
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
def test_what_the_gate_never_promoted_is_refused_and_nothing_moves(
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


def test_a_champion_before_that_another_gate_promoted_is_refused(
    roll_back: Callable[..., Rollback], run: wandb.Run, promoting: Gate
) -> None:
    theirs = promoted(run, promoting.model_copy(update={"name": "other"}), "theirs", day=1)
    promoted(run, promoting, "ours", champion=theirs, day=2)
    with pytest.raises(ConfigurationError, match=":v0 was never promoted by gate 'climate-rag'"):
        roll_back()


def test_the_first_version_has_no_champion_before(
    roll_back: Callable[..., Rollback], run: wandb.Run, promoting: Gate
) -> None:
    promoted(run, promoting, "one")
    with pytest.raises(ConfigurationError, match=r"no champion before: .*:v0 displaced nobody"):
        roll_back()


def test_a_champion_that_was_promoted_again_displaced_nobody(
    roll_back: Callable[..., Rollback], run: wandb.Run, promoting: Gate
) -> None:
    promoted(run, promoting, "one", day=1)
    champion = promoted(run, promoting, "two", day=2)
    promoted(run, promoting, "two", champion=champion, day=3)
    with pytest.raises(ConfigurationError, match=r"no champion before: .*:v1 displaced nobody"):
        roll_back()


def test_a_gate_that_promoted_nothing_has_nothing_to_roll_back(
    roll_back: Callable[..., Rollback], run: wandb.Run, promoting: Gate
) -> None:
    link_reference(run, promoting, "by hand", {})
    with pytest.raises(ConfigurationError, match="no champion before: it has promoted nothing"):
        roll_back()


def test_a_version_promoted_after_a_rollback_displaced_the_one_rolled_back_to(
    roll_back: Callable[..., Rollback], three: list[ArtifactRef], run: wandb.Run, promoting: Gate
) -> None:
    to = ArtifactRef.parse(roll_back().to)
    promoted(run, promoting, "4", champion=to, day=4)
    assert roll_back().to == str(to)
