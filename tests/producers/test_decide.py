from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
import redis

from bus.bus import Bus
from bus.celery_app import GPU_QUEUE, queue_keys, queue_length
from bus.ledger import Ledger
from producers.decide import decide
from schemas.errors import ConfigurationError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.verdicts import Decision, Verdict

_GATE = "climate-rag"
_OTHER = "other"


@pytest.fixture
def version(link: Callable[..., str]) -> ArtifactRef:
    """A version that exists in W&B."""
    return ArtifactRef.parse(link("one", f"collection {uuid4().hex[:8]}"))


@pytest.fixture
def suspend(
    ledger: Ledger, version: ArtifactRef, gate: Gate, event: ModelVersionEvent
) -> Callable[..., WeighingId]:
    """Opens a weighing of the version that awaits approval."""

    def weigh(name: str = _GATE) -> WeighingId:
        weighing = WeighingId.of(name, version)
        assert ledger.open(weighing, gate.model_copy(update={"name": name}), event)
        token = ledger.claim(weighing, "a worker")
        assert token is not None
        verdict = Verdict(
            weighing=weighing, source="webhook", outcome="awaiting approval", reason="it passed"
        )
        assert ledger.end(verdict, token)
        return weighing

    return weigh


@pytest.fixture
def decided(bus: Bus, version: ArtifactRef) -> Callable[..., list[WeighingId]]:
    def call(
        text: str = str(version), *, gate: str | None = None, approved: bool = True, why: str = ""
    ) -> list[WeighingId]:
        return [decide(bus, text, gate=gate, approved=approved, by="ada", why=why)]

    return call


def test_a_decided_weighing_is_served_first(
    suspend: Callable[..., WeighingId],
    decided: Callable[..., list[WeighingId]],
    client: redis.Redis,
) -> None:
    suspend()
    decided()
    first, *_ = queue_keys(GPU_QUEUE)
    assert client.llen(first) == 1


def _decision(ledger: Ledger, weighing: WeighingId) -> Decision | None:
    record = ledger.get(weighing)
    assert record is not None
    return record.decision


def test_an_approval_is_recorded_and_sent_to_a_worker(
    suspend: Callable[..., WeighingId],
    decided: Callable[..., list[WeighingId]],
    ledger: Ledger,
    client: redis.Redis,
) -> None:
    weighing = suspend()
    assert decided() == [weighing]
    decision = _decision(ledger, weighing)
    assert decision is not None
    assert (decision.approved, decision.by, decision.why) == (True, "ada", "")
    assert queue_length(client, GPU_QUEUE) == 1
    assert ledger.claim(weighing, "a worker") is not None


def test_a_rejection_is_recorded_with_its_reason(
    suspend: Callable[..., WeighingId], decided: Callable[..., list[WeighingId]], ledger: Ledger
) -> None:
    weighing = suspend()
    decided(approved=False, why="it is rude")
    decision = _decision(ledger, weighing)
    assert decision is not None
    assert (decision.approved, decision.why) == (False, "it is rude")


@pytest.mark.parametrize("why", ["", " "])
def test_a_rejection_without_a_reason_is_refused(
    suspend: Callable[..., WeighingId],
    decided: Callable[..., list[WeighingId]],
    ledger: Ledger,
    why: str,
) -> None:
    weighing = suspend()
    with pytest.raises(ConfigurationError, match="Give one with --why"):
        decided(approved=False, why=why)
    assert _decision(ledger, weighing) is None


def test_an_alias_is_resolved_to_its_current_version(
    suspend: Callable[..., WeighingId],
    decided: Callable[..., list[WeighingId]],
    version: ArtifactRef,
) -> None:
    weighing = suspend()
    assert decided(f"{version.collection_path}:latest") == [weighing]


def test_with_several_gates_one_must_be_named(
    suspend: Callable[..., WeighingId],
    decided: Callable[..., list[WeighingId]],
    ledger: Ledger,
    client: redis.Redis,
) -> None:
    ours, theirs = suspend(), suspend(_OTHER)
    with pytest.raises(ConfigurationError, match=f"under {_GATE}, {_OTHER}. Name one with --gate"):
        decided()
    assert queue_length(client, GPU_QUEUE) == 0
    assert decided(gate=_OTHER) == [theirs]
    assert _decision(ledger, ours) is None


def test_a_gate_under_which_it_does_not_await_approval_is_refused(
    suspend: Callable[..., WeighingId], decided: Callable[..., list[WeighingId]]
) -> None:
    suspend()
    message = f"does not await approval under {_OTHER}: it is awaiting approval under {_GATE}"
    with pytest.raises(ConfigurationError, match=message):
        decided(gate=_OTHER)


def test_a_decided_weighing_is_refused_with_its_state(
    suspend: Callable[..., WeighingId],
    decided: Callable[..., list[WeighingId]],
    client: redis.Redis,
) -> None:
    suspend()
    decided()
    with pytest.raises(ConfigurationError, match=f"approval: it is queued under {_GATE}"):
        decided()
    assert queue_length(client, GPU_QUEUE) == 1


def test_an_unweighed_version_cannot_be_approved(
    decided: Callable[..., list[WeighingId]], client: redis.Redis
) -> None:
    with pytest.raises(ConfigurationError, match="it is not in the ledger"):
        decided()
    assert queue_length(client, GPU_QUEUE) == 0


def test_a_version_that_does_not_exist_cannot_be_approved(
    decided: Callable[..., list[WeighingId]], version: ArtifactRef
) -> None:
    with pytest.raises(ConfigurationError, match="could not read version"):
        decided(f"{version.collection_path}:v9")


class _BeatenLedger(Ledger):
    """A ledger in which another person decides just before."""

    def decide(self, weighing: WeighingId, decision: Decision) -> bool:
        super().decide(weighing, decision.model_copy(update={"by": "bob"}))
        return super().decide(weighing, decision)


def test_the_second_of_two_concurrent_decisions_is_refused(
    suspend: Callable[..., WeighingId],
    bus: Bus,
    version: ArtifactRef,
    ledger: Ledger,
) -> None:
    weighing = suspend()
    beaten = replace(bus, ledger=_BeatenLedger(bus.client, bus.settings.lease))
    with pytest.raises(ConfigurationError, match="has just been decided"):
        decide(beaten, str(version), gate=None, approved=True, by="ada", why="")
    decision = _decision(ledger, weighing)
    assert decision is not None
    assert decision.by == "bob"
