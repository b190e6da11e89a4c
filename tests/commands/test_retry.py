"""`weighbridge retry`."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import redis
from click.testing import Result

from bus.celery_app import GPU_QUEUE, queue_length
from bus.ledger import Ledger
from schemas.events import WeighingId
from schemas.refs import ArtifactRef
from schemas.verdicts import Decision, Outcome

Command = Callable[..., Result]
Ended = Callable[..., WeighingId]


@pytest.fixture
def failed(ended: Ended) -> list[WeighingId]:
    """Failed weighings of v1 and v2 under one gate and of v1 under another; one that passed."""
    ended(0, "promoted")
    return [
        ended(1, "failed"),
        ended(2, "failed"),
        ended(1, "failed", "other"),
    ]


@pytest.mark.parametrize(
    ("arguments", "which"),
    [
        (["--all-failed"], [0, 1, 2]),
        (["--all-failed", "--gate=other"], [2]),
        (["{}:v1"], [0, 2]),
        (["{}:v1", "{}:v*"], [0, 1, 2]),
        (["*/*/*:v2"], [1]),
        (["{}:v1", "--gate=climate-rag"], [0]),
    ],
)
def test_a_failed_weighing_is_queued_again_with_its_task(
    failed: list[WeighingId],
    version: ArtifactRef,
    ledger: Ledger,
    client: redis.Redis,
    command: Command,
    arguments: list[str],
    which: list[int],
) -> None:
    named = [argument.format(version.collection_path) for argument in arguments]
    result = command("retry", *named, "--json")
    chosen = [failed[number] for number in which]
    assert sorted(json.loads(result.output)) == sorted(map(str, chosen))
    assert {one.id for one in ledger.all() if one.state == "queued"} == set(chosen)
    assert queue_length(client, GPU_QUEUE) == len(chosen)


@pytest.mark.parametrize(
    ("number", "message"),
    [(0, "it is promoted under climate-rag"), (9, "it is not in the ledger")],
)
def test_a_weighing_that_has_not_failed_is_refused_with_its_state(
    ended: Ended,
    version: ArtifactRef,
    client: redis.Redis,
    command: Command,
    number: int,
    message: str,
) -> None:
    ended(0, "promoted")
    result = command("retry", f"{version.collection_path}:v{number}")
    assert result.exit_code == 1
    assert message in result.output
    assert queue_length(client, GPU_QUEUE) == 0


def test_versions_and_all_failed_exclude_each_other(command: Command, client: redis.Redis) -> None:
    assert command("retry").exit_code == 2
    assert command("retry", "o/p/c:v1", "--all-failed").exit_code == 2
    result = command("retry", "--all-failed")
    assert (result.exit_code, result.output.strip()) == (0, "")


def test_a_decision_that_failed_to_apply_is_kept(
    waiting: WeighingId,
    ledger: Ledger,
    end: Callable[[WeighingId, Outcome], None],
    command: Command,
) -> None:
    decision = Decision(approved=True, by="ada", at=datetime.now(UTC))
    assert ledger.decide(waiting, decision)
    end(waiting, "failed")
    assert command("retry", str(waiting.version)).output == f"{waiting}\n"
    record = ledger.get(waiting)
    assert record is not None
    assert record.decision == decision
