"""`weighbridge enqueue`, and its output while it waits."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import redis
from click.testing import Result
from rich.console import Console

from bus.inbox import Inbox
from bus.ledger import Ledger
from commands.wait import LiveView
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.verdicts import Outcome
from schemas.weighings import Progress, WeighingRecord

Command = Callable[..., Result]
End = Callable[[WeighingId, Outcome], None]


@pytest.fixture(autouse=True)
def gate_file(write_gates: Callable[[Gate], None], gate: Gate, client: redis.Redis) -> None:
    write_gates(gate)


def test_all_versions_that_match_a_pattern_are_enqueued(
    link: Callable[..., str], command: Command, inbox: Inbox
) -> None:
    collection = f"collection {uuid4().hex[:8]}"
    linked = [link(text, collection) for text in ("one", "two")]
    pattern = f"{ArtifactRef.parse(linked[0]).collection_path}:v*"
    result = command("enqueue", pattern, "--json")
    assert json.loads(result.output) == [f"climate-rag/{version}" for version in linked]
    assert len(inbox.waiting()) == 2


def test_waiting_ends_when_a_version_awaits_approval(waiting: WeighingId, command: Command) -> None:
    result = command("enqueue", str(waiting.version), "--wait")
    assert f"awaiting approval {waiting}" in result.stdout
    assert result.exit_code == 1


@pytest.fixture
def opened(
    link: Callable[..., str], ledger: Ledger, gate: Gate, event: ModelVersionEvent
) -> list[WeighingId]:
    """Queued weighings of versions that exist in W&B."""
    collection = f"collection {uuid4().hex[:8]}"
    versions = [ArtifactRef.parse(link(text, collection)) for text in ("one", "two")]
    weighings = [WeighingId.of(gate.name, version) for version in versions]
    for weighing, version in zip(weighings, versions, strict=True):
        ledger.open(weighing, gate, event.model_copy(update={"ref": version}))
    return weighings


@pytest.mark.parametrize(
    ("outcomes", "exit_code"), [(("promoted",) * 2, 0), (("promoted", "rejected"), 1)]
)
def test_waiting_succeeds_when_all_are_promoted(
    opened: list[WeighingId],
    end: End,
    command: Command,
    outcomes: tuple[Outcome, Outcome],
    exit_code: int,
) -> None:
    for weighing, outcome in zip(opened, outcomes, strict=True):
        end(weighing, outcome)
    result = command("enqueue", *(str(one.version) for one in opened), "--wait", "--json")
    assert [record["state"] for record in json.loads(result.stdout)] == list(outcomes)
    assert result.exit_code == exit_code


def test_interrupting_the_wait_does_not_stop_the_weighings(
    opened: list[WeighingId], ledger: Ledger, settings: Settings
) -> None:
    ours = {
        "CELERY_BROKER_URL": settings.broker_url,
        "WEIGHBRIDGE_GATES": str(settings.gates_path),
    }
    arguments = ["-m", "weighbridge", "enqueue", str(opened[0].version), "--wait"]
    with subprocess.Popen(
        [sys.executable, *arguments], env=os.environ | ours, stderr=subprocess.PIPE, text=True
    ) as waits:
        assert waits.stderr
        assert str(opened[0]) in waits.stderr.readline()
        waits.send_signal(signal.SIGINT)
        output = waits.stderr.read()
    assert output == "Stopped waiting. The weighings continue; see `weighbridge status`.\n"
    assert waits.returncode == 130
    record = ledger.get(opened[0])
    assert record is not None
    assert record.state == "queued"


def _shown(*records: WeighingRecord) -> str:
    console = Console(file=io.StringIO(), width=160, height=8)
    view = LiveView(console)
    for record in records:
        view.on_change(record)
    with console.capture() as captured:
        console.print(view.table())
    return captured.get()


@pytest.fixture
def running(weighing: WeighingId, gate: Gate, event: ModelVersionEvent) -> WeighingRecord:
    progress = Progress(step="evaluate", done=12, total=60, metrics={"correct.mean": 0.75})
    now = datetime.now(UTC)
    return WeighingRecord(
        id=weighing,
        gate=gate,
        event=event,
        state="running",
        opened_at=now,
        queued_at=now,
        progress=progress,
    )


def test_the_live_table_shows_step_rows_metric_and_time(running: WeighingRecord) -> None:
    text = _shown(running)
    for part in ("SmolLM2:v3", "climate-rag", "evaluate", "12/60", "correct.mean 0.75", "0:00"):
        assert part in text
    assert "0 of 1 have ended" in text


def test_the_live_table_shows_running_weighings_first(
    running: WeighingRecord,
) -> None:
    ids = [running.id.model_copy(update={"number": number}) for number in range(100)]
    queued = {"state": "queued", "progress": None}
    records = [running.model_copy(update={"id": one, **queued}) for one in ids]
    records[70] = running.model_copy(update={"id": ids[70], "state": "running"})
    records[71] = running.model_copy(update={"id": ids[71], "state": "promoted"})
    text = _shown(*records)
    assert "SmolLM2:v70 " in text
    assert len(text.splitlines()) <= 8
    assert "1 of 100 have ended" in text
