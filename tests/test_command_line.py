"""What a person at the command line is told; the commands that need W&B are in tests/e2e."""

import json
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

from bus.ledger import Ledger
from rehearsal.redis_server import free_port
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.verdicts import Verdict
from weighbridge import main

_GATES = Path(__file__).parents[1] / "gates.example.yaml"


def _run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=environment)


@pytest.mark.parametrize(
    "command",
    ["enqueue", "poll", "webhook", "worker", "status", "rehearse", "local-wandb", "gates check"],
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
    assert result.output == f"rejected  {rejected}  too slow\n"


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
