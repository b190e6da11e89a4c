"""Approve, reject and roll back at the command line."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import redis
import wandb
from click.testing import Result

from bus.celery_app import GPU_QUEUE
from bus.connection import KEY_PREFIX
from bus.ledger import Ledger
from schemas.events import WeighingId
from schemas.gates import Gate, Promotion
from schemas.refs import ArtifactRef
from schemas.verdicts import Outcome
from tests.promoted import promoted

Command = Callable[..., Result]
End = Callable[[WeighingId, Outcome], None]


def test_status_shows_that_a_weighing_awaits_approval_and_then_who_decided(
    waiting: WeighingId, command: Command
) -> None:
    assert command("status").output == f"awaiting approval {waiting}  awaiting approval, so\n"
    assert command("approve", str(waiting.version)).exit_code == 0
    assert command("status").output == f"queued            {waiting}  approved by local\n"


def test_a_decision_is_recorded_with_the_user_of_the_api_key(
    waiting: WeighingId, command: Command, ledger: Ledger
) -> None:
    result = command("reject", str(waiting.version), "--why=rude", "--json")
    assert json.loads(result.output) == [str(waiting)]
    record = ledger.get(waiting)
    assert record is not None
    assert record.decision is not None
    assert (record.decision.by, record.decision.why) == (wandb.Api().viewer.username, "rude")


def test_a_rejection_needs_a_reason(waiting: WeighingId, command: Command) -> None:
    version = str(waiting.version)
    assert command("reject", version).exit_code == 2
    result = command("reject", version, "--why=")
    assert (result.exit_code, result.output.count("--why")) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "outcome", "exit_code"),
    [
        (["approve"], "promoted", 0),
        (["approve"], "failed", 1),
        (["reject", "--why=rude"], "rejected", 0),
        (["reject", "--why=rude"], "failed", 1),
    ],
)
def test_waiting_for_a_decision_shows_whether_it_was_applied(
    waiting: WeighingId,
    client: redis.Redis,
    end: End,
    command: Command,
    arguments: list[str],
    outcome: Outcome,
    exit_code: int,
) -> None:
    def apply_decision() -> None:
        """Apply the decision, as a worker does."""
        assert any(client.brpop([f"{KEY_PREFIX}{GPU_QUEUE}"], timeout=5) for _ in range(12))
        end(waiting, outcome)

    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(apply_decision)
        result = command(*arguments, str(waiting.version), "--wait", "--json")
        worker.result()
    (record,) = json.loads(result.stdout)
    assert (record["state"], result.exit_code) == (outcome, exit_code)


@pytest.fixture
def two_champions(
    run: wandb.Run,
    gate: Gate,
    registry: Callable[[str], str],
    write_gates: Callable[[Gate], None],
    client: redis.Redis,
) -> tuple[ArtifactRef, ArtifactRef]:
    """The previous and the current champion of the gate in the gate file."""
    target = f"{registry('RAG Models')}/{uuid4().hex[:8]}"
    ours = gate.model_copy(update={"promote": Promotion(to=target, aliases=("production",))})
    write_gates(ours)
    before = promoted(run, ours, "one", day=1)
    return before, promoted(run, ours, "two", champion=before, day=2)


def test_a_rollback_prints_what_moved_and_a_second_one_that_nothing_did(
    two_champions: tuple[ArtifactRef, ArtifactRef], command: Command
) -> None:
    before, latest = two_champions
    first, second = (command("rollback", "climate-rag") for _ in range(2))
    assert first.output == f"production moved from {latest} to {before}\n"
    assert second.output == f"already rolled back to {before}\n"
    assert (first.exit_code, second.exit_code) == (0, 0)


def test_a_rollback_as_json(
    two_champions: tuple[ArtifactRef, ArtifactRef], command: Command
) -> None:
    before, latest = two_champions
    printed = json.loads(command("rollback", "climate-rag", "--json").output)
    moved = {"production": str(latest)}
    assert printed == {"gate": "climate-rag", "to": str(before), "moved": moved}


def test_a_rollback_to_an_unpromoted_version_is_an_error(
    two_champions: tuple[ArtifactRef, ArtifactRef], command: Command
) -> None:
    result = command("rollback", "climate-rag", "--to=v7")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "v7" in result.output
