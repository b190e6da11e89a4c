from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import wandb

from registry.calls import wandb_api
from registry.champions import champion_to_beat, current_champion, displaced, find, promoted_by
from schemas.errors import ConfigurationError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, Promotion
from schemas.refs import ArtifactRef
from schemas.weighings import WeighingRecord
from tests.promoted import link_reference, log_reference, promoted, record, reference

_TIMEOUT = 19.0


@pytest.fixture
def promoting(gate: Gate, registry: Callable[[str], str]) -> Gate:
    """A gate with a target collection for this test only."""
    target = f"{registry('RAG Models')}/{uuid4().hex[:8]}"
    return gate.model_copy(update={"promote": Promotion(to=target, aliases=("production",))})


@pytest.fixture
def api(project: str) -> wandb.Api:
    return wandb_api(_TIMEOUT)


def test_the_champion_is_the_version_with_the_alias(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    promoted(run, promoting, "one")
    newest = promoted(run, promoting, "two")
    found = current_champion(api, promoting)
    assert found is not None
    assert (found.ref, str(found.rag_model)) == (newest, reference("two"))
    assert found.record == record(promoting, champion=None, day=1)


def test_before_the_first_promotion_there_is_no_champion(api: wandb.Api, promoting: Gate) -> None:
    assert current_champion(api, promoting) is None


def test_an_unassigned_alias_means_no_champion(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    promoted(run, promoting, "one")
    other = Promotion(to=promoting.promote.to, aliases=("staging",))
    assert current_champion(api, promoting.model_copy(update={"promote": other})) is None


def test_a_gate_without_aliases_has_no_champion(api: wandb.Api, gate: Gate) -> None:
    assert current_champion(api, gate) is None


def test_a_champion_that_cannot_be_read_is_an_error(api: wandb.Api, gate: Gate) -> None:
    promote = Promotion(to="wandb32/wandb-registry-Nowhere/RAG Model", aliases=("production",))
    with pytest.raises(ConfigurationError, match="find the champion wandb32/wandb-registry-No"):
        current_champion(api, gate.model_copy(update={"promote": promote}))


def test_a_manually_made_champion_has_no_record(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    link_reference(run, promoting, "by hand", {"note": "trust me"})
    found = current_champion(api, promoting)
    assert found is not None
    assert found.record is None


def test_a_promoted_version_knows_its_gate_and_model_version(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    promoted(run, promoting, "one")
    found = current_champion(api, promoting)
    assert found is not None
    assert found.record is not None
    weighed = found.record.chat_model
    assert found.is_of(promoting, weighed)
    assert not found.is_of(promoting.model_copy(update={"name": "other"}), weighed)
    assert not found.is_of(promoting, weighed.at("v9"))
    assert not found.model_copy(update={"record": None}).is_of(promoting, weighed)


def _link_files(run: wandb.Run, gate: Gate) -> None:
    artifact = wandb.Artifact("weights", type="model")
    with artifact.new_file("weights.txt") as file:
        file.write(uuid4().hex)
    run.log_artifact(artifact).wait()
    run.link_artifact(artifact, str(gate.promote.to), aliases=list(gate.promote.aliases))


def test_a_champion_may_have_no_rag_model(run: wandb.Run, api: wandb.Api, promoting: Gate) -> None:
    _link_files(run, promoting)
    champion = current_champion(api, promoting)
    assert champion is not None
    assert (champion.ref.version, champion.rag_model, champion.record) == ("v0", None, None)


def test_promoted_versions_are_listed_latest_first(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    first = promoted(run, promoting, "one", day=1)
    second = promoted(run, promoting, "two", day=2)
    assert promoted(run, promoting, "one", day=3) == first
    assert [one.ref for one in promoted_by(api, promoting)] == [first, second]


def test_a_version_keeps_its_number_when_it_is_linked_after_a_later_logged_one(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    log_reference(run, "one", {})  # an attempt that was killed before it linked the version
    second = promoted(run, promoting, "two", day=2)
    first = promoted(run, promoting, "one", number=1, day=3, champion=second)
    third = promoted(run, promoting, "three", number=3, day=4, champion=first)
    assert [one.ref for one in promoted_by(api, promoting)] == [third, first, second]
    found = displaced(api, _weighing(promoting, 1), current_champion(api, promoting))
    assert found is not None
    assert found.ref == first


def test_versions_linked_by_others_are_not_listed(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    ours = promoted(run, promoting, "ours")
    promoted(run, promoting.model_copy(update={"name": "other"}), "theirs")
    link_reference(run, promoting, "by hand", {})
    _link_files(run, promoting)
    assert [one.ref for one in promoted_by(api, promoting)] == [ours]


def _weighing(gate: Gate, number: int, day: int = 1) -> WeighingRecord:
    """Opened on a day of January."""
    ref = ArtifactRef.parse(f"e/p/c:v{number}")
    at = datetime(2026, 1, day, tzinfo=UTC)
    return WeighingRecord(
        id=WeighingId.of(gate.name, ref),
        gate=gate,
        event=ModelVersionEvent(ref=ref, source="poller"),
        state="running",
        opened_at=at,
        queued_at=at,
    )


def test_a_version_replaced_before_its_verdict_is_found(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    first = promoted(run, promoting, "one", number=1, day=2)
    promoted(run, promoting, "two", number=2, day=3, champion=first)
    found = displaced(api, _weighing(promoting, 1), current_champion(api, promoting))
    assert found is not None
    assert found.ref == first


def test_it_may_have_been_replaced_by_another_gate(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    first = promoted(run, promoting, "one", number=1, day=2)
    other = promoting.model_copy(update={"name": "other"})
    promoted(run, other, "two", number=2, day=3, champion=first)
    assert displaced(api, _weighing(promoting, 1), current_champion(api, promoting)) is not None


def test_a_version_promoted_in_another_weighing_was_not_replaced(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    assert displaced(api, _weighing(promoting, 1), current_champion(api, promoting)) is None
    first = promoted(run, promoting, "one", number=1, day=2)
    assert displaced(api, _weighing(promoting, 1), current_champion(api, promoting)) is None
    promoted(run, promoting, "two", number=2, day=4, champion=first)
    champion = current_champion(api, promoting)
    stricter = promoting.model_copy(update={"approval": "required"})
    assert displaced(api, _weighing(promoting, 3), champion) is None
    assert displaced(api, _weighing(promoting, 1, day=3), champion) is None
    assert displaced(api, _weighing(stricter, 1), champion) is None


def test_a_version_whose_alias_a_person_moved_was_not_replaced(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    promoted(run, promoting, "one", number=1, day=2)
    link_reference(run, promoting, "by hand", {})
    assert displaced(api, _weighing(promoting, 1), current_champion(api, promoting)) is None


def test_the_champion_is_to_be_beaten(run: wandb.Run, api: wandb.Api, promoting: Gate) -> None:
    assert champion_to_beat(api, _weighing(promoting, 2)) is None
    promoted(run, promoting, "one", number=1, day=2)
    assert champion_to_beat(api, _weighing(promoting, 2)) == current_champion(api, promoting)


def test_a_replaced_version_is_compared_with_the_champion_that_it_replaced(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    nobody = promoted(run, promoting, "one", number=1, day=2)
    before = current_champion(api, promoting)
    first = promoted(run, promoting, "two", number=2, day=3, champion=nobody)
    promoted(run, promoting, "three", number=3, day=4, champion=first)
    assert champion_to_beat(api, _weighing(promoting, 2)) == before
    assert champion_to_beat(api, _weighing(promoting, 1)) is None


def test_find_returns_none_only_for_a_missing_version(
    run: wandb.Run, api: wandb.Api, promoting: Gate
) -> None:
    ref = promoted(run, promoting, "one")
    found = find(api, ref)
    assert found is not None
    assert found.version == "v0"
    assert find(api, promoting.promote.to.at("v1")) is None
