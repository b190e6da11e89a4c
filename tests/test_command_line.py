"""What a person at the command line is told; how a version is weighed is in tests/e2e."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
import redis
import wandb
import yaml
from click.testing import CliRunner, Result

from bus.celery_app import GPU_QUEUE
from bus.ledger import Ledger
from rehearsal.redis_server import free_port
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, GateFile, Promotion
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.verdicts import Outcome, Verdict
from tests.promoted import promoted
from weighbridge import main

_GATES = Path(__file__).parents[1] / "gates.example.yaml"


def _run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=environment)


@pytest.mark.parametrize(
    "command",
    [
        "approve",
        "enqueue",
        "gates check",
        "local-wandb",
        "poll",
        "rehearse",
        "reject",
        "rollback",
        "status",
        "webhook",
        "worker",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    result = _run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_a_sound_gate_file_is_summed_up() -> None:
    result = _run("gates", "check", str(_GATES))
    assert result.exit_code == 0
    assert "climate-rag: watches wandb32/wandb-registry-RAG Chat Models/*" in result.output


def test_a_typo_in_a_gate_file_is_one_sentence_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text(_GATES.read_text().replace("thresholds:", "treshholds:"))
    result = _run("gates", "check", str(file))
    assert result.exit_code == 1
    assert "line 17: gates.0.treshholds: this key is not known" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", [["status"], ["enqueue", "o/wandb-registry-RAG Chat Models/c"]])
def test_a_fault_of_the_operator_is_one_sentence(command: list[str], tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    result = _run(*command, CELERY_BROKER_URL=url, WEIGHBRIDGE_GATES=str(tmp_path / "none.yaml"))
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output


def test_what_is_not_a_version_is_refused() -> None:
    result = _run("enqueue", "v3", WEIGHBRIDGE_GATES=str(_GATES))
    assert result.exit_code == 1
    assert "'v3' is not an artifact reference" in result.output


def test_a_collection_that_no_gate_watches_is_refused_with_those_that_are() -> None:
    result = _run("enqueue", "wandb32/wandb-registry-Other/c:v0", WEIGHBRIDGE_GATES=str(_GATES))
    assert result.exit_code == 1
    assert "No gate watches wandb32/wandb-registry-Other/c" in result.output
    assert "RAG Chat Models/*" in result.output


@pytest.fixture
def rejected(
    ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> WeighingId:
    ledger.open(weighing, gate, event)
    token = ledger.claim(weighing)
    assert token is not None
    verdict = Verdict(weighing=weighing, source="webhook", outcome="rejected", reason="too slow")
    ledger.end(verdict, token)
    return weighing


def test_status_shows_each_weighing_with_its_reason(rejected: WeighingId, redis_url: str) -> None:
    result = _run("status", CELERY_BROKER_URL=redis_url)
    assert result.output == f"rejected          {rejected}  too slow\n"


def test_status_of_one_version_as_json(rejected: WeighingId, redis_url: str) -> None:
    result = _run("status", str(rejected.version), "--json", CELERY_BROKER_URL=redis_url)
    (record,) = json.loads(result.output)
    assert record["verdict"]["outcome"] == "rejected"


def test_status_of_an_unknown_version_is_an_error(client: redis.Redis, redis_url: str) -> None:
    result = _run("status", "o/p/c:v9", CELERY_BROKER_URL=redis_url)
    assert result.exit_code == 1
    assert "o/p/c:v9 was never weighed" in result.output


def test_a_webhook_receiver_without_secrets_does_not_start() -> None:
    result = _run("webhook")
    assert result.exit_code == 1
    assert "Set WEIGHBRIDGE_WEBHOOK_TOKEN and WEIGHBRIDGE_WEBHOOK_SECRET" in result.output


def test_a_rehearsal_does_not_empty_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    result = _run("rehearse", "--dir", str(tmp_path))
    assert result.exit_code == 1
    assert "holds files that no rehearsal left there" in result.output
    assert (tmp_path / "thesis.tex").exists()


def _verdict(weighing: WeighingId, outcome: Outcome) -> Verdict:
    return Verdict(weighing=weighing, source="webhook", outcome=outcome, reason=f"{outcome}, so")


@pytest.fixture
def waiting(
    ledger: Ledger, link: Callable[..., str], gate: Gate, event: ModelVersionEvent
) -> WeighingId:
    """A weighing, of a version that is there in W&B, that awaits approval."""
    version = ArtifactRef.parse(link("one", f"collection {uuid4().hex[:8]}"))
    weighing = WeighingId.of(gate.name, version)
    ledger.open(weighing, gate, event.model_copy(update={"ref": version}))
    token = ledger.claim(weighing)
    assert token is not None
    assert ledger.suspend(_verdict(weighing, "awaiting approval"), token)
    return weighing


def _carry_out(client: redis.Redis, ledger: Ledger, weighing: WeighingId, outcome: Outcome) -> None:
    """What a worker does with a decision."""
    assert any(client.brpop([GPU_QUEUE], timeout=5) for _ in range(12))
    token = ledger.claim(weighing)
    assert token is not None
    assert ledger.end(_verdict(weighing, outcome), token)


def test_status_shows_what_awaits_approval_and_then_who_decided(
    waiting: WeighingId, redis_url: str
) -> None:
    line = f"awaiting approval {waiting}  awaiting approval, so\n"
    assert _run("status", CELERY_BROKER_URL=redis_url).output == line
    assert _run("approve", str(waiting.version), CELERY_BROKER_URL=redis_url).exit_code == 0
    line = f"queued            {waiting}  approved by local\n"
    assert _run("status", CELERY_BROKER_URL=redis_url).output == line


def test_a_decision_is_recorded_under_the_name_that_the_key_belongs_to(
    waiting: WeighingId, redis_url: str, ledger: Ledger
) -> None:
    result = _run(
        "reject", str(waiting.version), "--why=rude", "--json", CELERY_BROKER_URL=redis_url
    )
    assert json.loads(result.output) == [str(waiting)]
    record = ledger.get(waiting)
    assert record is not None
    assert record.decision is not None
    assert (record.decision.by, record.decision.why) == (wandb.Api().viewer.username, "rude")


def test_a_rejection_needs_a_reason(waiting: WeighingId, redis_url: str) -> None:
    version = str(waiting.version)
    assert _run("reject", version, CELERY_BROKER_URL=redis_url).exit_code == 2
    result = _run("reject", version, "--why=", CELERY_BROKER_URL=redis_url)
    assert (result.exit_code, result.output.count("--why")) == (1, 1)


@pytest.mark.parametrize(
    ("command", "outcome", "exit_code"),
    [
        (["approve"], "promoted", 0),
        (["approve"], "failed", 1),
        (["reject", "--why=rude"], "rejected", 0),
        (["reject", "--why=rude"], "failed", 1),
    ],
)
def test_who_waits_for_a_decision_learns_whether_it_was_carried_out(
    waiting: WeighingId,
    client: redis.Redis,
    ledger: Ledger,
    redis_url: str,
    command: list[str],
    outcome: Outcome,
    exit_code: int,
) -> None:
    arguments = [*command, str(waiting.version), "--wait", "--json"]
    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(_carry_out, client, ledger, waiting, outcome)
        result = _run(*arguments, CELERY_BROKER_URL=redis_url)
        worker.result()
    (record,) = json.loads(result.stdout)
    assert (record["state"], result.exit_code) == (outcome, exit_code)


def _write_gates(settings: Settings, gate: Gate) -> None:
    text = yaml.safe_dump(GateFile(gates=(gate,)).model_dump(mode="json"))
    settings.gates_path.write_text(text)


def _run_with(settings: Settings, *arguments: str) -> Result:
    environment = {
        "CELERY_BROKER_URL": settings.broker_url,
        "WEIGHBRIDGE_GATES": str(settings.gates_path),
    }
    return _run(*arguments, **environment)


def test_who_waits_for_a_verdict_does_not_wait_for_a_person(
    waiting: WeighingId, settings: Settings, gate: Gate
) -> None:
    _write_gates(settings, gate)
    result = _run_with(settings, "enqueue", str(waiting.version), "--wait")
    assert f"awaiting approval {waiting}" in result.stdout
    assert result.exit_code == 1


@pytest.fixture
def two_champions(
    run: wandb.Run,
    gate: Gate,
    registry: Callable[[str], str],
    settings: Settings,
    client: redis.Redis,
) -> tuple[ArtifactRef, ArtifactRef]:
    """The champion before and the champion now, of the gate in the gate file."""
    target = f"{registry('RAG Models')}/{uuid4().hex[:8]}"
    ours = gate.model_copy(update={"promote": Promotion(to=target, aliases=("production",))})
    _write_gates(settings, ours)
    before = promoted(run, ours, "one", day=1)
    return before, promoted(run, ours, "two", champion=before, day=2)


def test_a_rollback_says_what_moved_and_the_next_that_nothing_did(
    two_champions: tuple[ArtifactRef, ArtifactRef], settings: Settings
) -> None:
    before, latest = two_champions
    first, second = (_run_with(settings, "rollback", "climate-rag") for _ in range(2))
    assert first.output == f"production moved from {latest} to {before}\n"
    assert second.output == f"already rolled back to {before}\n"
    assert (first.exit_code, second.exit_code) == (0, 0)


def test_a_rollback_as_json(
    two_champions: tuple[ArtifactRef, ArtifactRef], settings: Settings
) -> None:
    before, latest = two_champions
    told = json.loads(_run_with(settings, "rollback", "climate-rag", "--json").output)
    moved = {"production": str(latest)}
    assert told == {"gate": "climate-rag", "to": str(before), "moved": moved}


def test_a_rollback_to_what_was_never_promoted_is_one_sentence(
    two_champions: tuple[ArtifactRef, ArtifactRef], settings: Settings
) -> None:
    result = _run_with(settings, "rollback", "climate-rag", "--to=v7")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "v7" in result.output
