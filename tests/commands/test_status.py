"""`weighbridge status`, `events` and `workers`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from click.testing import Result

from bus import liveness
from bus.connection import connect
from bus.ledger import Ledger
from bus.liveness import WorkerRecord
from rehearsal.redis_server import RedisServer
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.weighings import Progress

Command = Callable[..., Result]
Ended = Callable[..., WeighingId]


def test_status_shows_each_weighing_with_its_reason_the_newest_last(
    ended: Ended, command: Command
) -> None:
    first, second = ended(3, "rejected"), ended(1, "failed")
    assert command("status").output == (
        f"rejected          {first}  rejected, so\nfailed            {second}  failed, so\n"
    )


def test_status_can_be_filtered(ended: Ended, command: Command) -> None:
    outcomes = ("promoted", "failed", "promoted", "failed", "failed")
    ids = [ended(number, outcome) for number, outcome in enumerate(outcomes)]

    def shown(*arguments: str) -> list[int]:
        result = command("status", *arguments, "--json")
        return [record["id"]["number"] for record in json.loads(result.output)]

    assert shown() == [0, 1, 2, 3, 4]
    assert shown("--state=failed") == [1, 3, 4]
    assert shown("--state=failed", "--limit=2") == [3, 4]
    assert shown(str(ids[2].version)) == [2]
    assert shown(f"{ids[2].collection}:v[12]") == [1, 2]


def test_status_of_an_unknown_version_is_an_error(client: redis.Redis, command: Command) -> None:
    result = command("status", "o/p/c:v9")
    assert result.exit_code == 1
    assert "o/p/c:v9 was never weighed" in result.output


@pytest.fixture
def token(ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent) -> str:
    """The token of a worker that has claimed the weighing."""
    ledger.open(weighing, gate, event)
    claimed = ledger.claim(weighing, "gpu@one")
    assert claimed is not None
    return claimed


def test_status_of_a_running_weighing_shows_its_progress_and_holder(
    ledger: Ledger, weighing: WeighingId, token: str, command: Command
) -> None:
    progress = Progress(step="evaluate", done=12, total=60, metrics={"correct.mean": 0.75})
    ledger.renew(weighing, token, progress)
    expected = "evaluate 12/60, correct.mean 0.75, by gpu@one"
    assert command("status").output == f"running           {weighing}  {expected}\n"


def test_status_of_a_failed_attempt_shows_the_reason_and_the_time_of_the_next(
    ledger: Ledger, weighing: WeighingId, token: str, command: Command
) -> None:
    ledger.release(weighing, token, 60, "W&B is away")
    output = command("status").output
    expected = r"attempt 1, next attempt at \d\d:\d\d:\d\d: W&B is away\n"
    assert re.fullmatch(rf"queued            {re.escape(str(weighing))}  {expected}", output)


def test_events_show_transitions_in_order(ended: Ended, command: Command) -> None:
    weighing = ended(3, "rejected")
    lines = command("events").output.splitlines()
    states = [line.split("  ")[1:3] for line in lines]
    assert states == [[str(weighing), state] for state in ("queued", "running", "rejected")]
    assert lines[-1].endswith("  rejected, so")
    assert command("events", "--limit=1").output.splitlines() == lines[-1:]


def test_events_as_json_are_one_object_per_line(ended: Ended, command: Command) -> None:
    ended(3, "rejected")
    lines = command("events", "--json").output.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["queued", "running", "rejected"]


def test_following_events_survives_an_outage_of_redis(
    tmp_path: Path, gate: Gate, event: ModelVersionEvent, weighing: WeighingId
) -> None:
    with RedisServer(tmp_path) as server:
        client = connect(server.url)
        ledger = Ledger(client, 60)
        ledger.open(weighing, gate, event)
        with subprocess.Popen(
            [sys.executable, "-m", "weighbridge", "events", "--follow"],
            env=os.environ | {"CELERY_BROKER_URL": server.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as follows:
            assert follows.stdout
            assert follows.stderr
            assert "queued" in follows.stdout.readline()
            server.stop()
            assert "Redis is unavailable" in follows.stderr.readline()
            server.start()
            assert "Redis is back" in follows.stderr.readline()
            ledger.claim(weighing, "a worker")
            assert "running" in follows.stdout.readline()
            follows.terminate()
        client.close()


def _worker(name: str, *queues: str, **fields: object) -> WorkerRecord:
    now = datetime.now(UTC)
    record = {"name": name, "queues": queues, "pid": 1, "started_at": now, "heard_at": now}
    return WorkerRecord.model_validate(record | fields)


def test_workers_shows_the_workers_of_every_queue(client: redis.Redis, command: Command) -> None:
    busy = ("weighbridge.weigh climate-rag/o/p/c:v3",)
    liveness.write_record(client, _worker("events@one", "events"), 60)
    liveness.write_record(client, _worker("gpu@one", "gpu", busy_with=busy), 60)
    result = command("workers")
    first, second = result.output.splitlines()
    assert re.fullmatch(r"events@one  events  self-test \d s ago  idle", first)
    assert second.endswith(f"  {busy[0]}")
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], ["queue events", "queue gpu"]),
        ([_worker("events@one", "events")], ["queue gpu"]),
        ([_worker("all@one", "events", "gpu", stalled=True)], ["stalled"]),
    ],
    ids=["no worker", "a queue without a worker", "a stalled worker"],
)
def test_workers_fails_without_healthy_workers_for_every_queue(
    client: redis.Redis, command: Command, records: list[WorkerRecord], expected: list[str]
) -> None:
    for record in records:
        liveness.write_record(client, record, 60)
    result = command("workers")
    assert result.exit_code == 1
    assert all(text in result.output for text in expected)
    told = json.loads(command("workers", "--json").stdout)
    assert [one["name"] for one in told] == [record.name for record in records]
