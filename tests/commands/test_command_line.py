"""The command line; tests/e2e tests the weighing itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rehearsal.redis_server import free_port
from weighbridge import main

_ROOT = Path(__file__).parents[2]
_GATES = _ROOT / "gates.example.yaml"


def _run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env=environment)


@pytest.mark.parametrize(
    "command",
    [
        "approve",
        "automation create",
        "enqueue",
        "events",
        "gates check",
        "local-wandb",
        "poll",
        "rehearse",
        "reject",
        "retry",
        "rollback",
        "status",
        "webhook",
        "weigh",
        "worker",
        "workers",
    ],
)
def test_every_command_has_help(command: str) -> None:
    result = _run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_the_command_line_imports_no_package_of_a_single_command() -> None:
    program = (
        "import sys, weighbridge;"
        "slow = {'wandb', 'fastapi', 'uvicorn', 'requests', 'worker', 'rehearsal'};"
        "sys.exit(f'{slow & sys.modules.keys() or str()}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == "\n"


def test_a_valid_gate_file_is_summarized() -> None:
    result = _run("gates", "check", str(_GATES))
    assert result.exit_code == 0
    assert "climate-rag: watches wandb32/wandb-registry-RAG Chat Models/*" in result.output


def test_a_typo_in_a_gate_file_is_reported_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "gates.yaml"
    lines = _GATES.read_text().splitlines()
    faulty = lines.index("    thresholds:")
    lines[faulty] = "    treshholds:"
    file.write_text("\n".join(lines))
    result = _run("gates", "check", str(file))
    assert result.exit_code == 1
    assert f"line {faulty + 1}: gates.0.treshholds: this key is not known" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "command",
    [["status"], ["workers"], ["events"], ["enqueue", "o/wandb-registry-RAG Chat Models/c"]],
)
def test_a_configuration_error_is_one_sentence(command: list[str], tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    result = _run(*command, CELERY_BROKER_URL=url, WEIGHBRIDGE_GATES=str(tmp_path / "none.yaml"))
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output


def test_an_invalid_reference_is_refused() -> None:
    result = _run("enqueue", "v3", WEIGHBRIDGE_GATES=str(_GATES))
    assert result.exit_code == 1
    assert "'v3' is not an artifact reference" in result.output


def test_an_unwatched_collection_is_refused_and_the_watched_ones_are_listed() -> None:
    result = _run("enqueue", "wandb32/wandb-registry-Other/c:v0", WEIGHBRIDGE_GATES=str(_GATES))
    assert result.exit_code == 1
    assert "No gate watches wandb32/wandb-registry-Other/c" in result.output
    assert "RAG Chat Models/*" in result.output


def test_a_webhook_receiver_without_a_token_does_not_start() -> None:
    result = _run("webhook", WEIGHBRIDGE_GATES=str(_GATES))
    assert result.exit_code == 1
    assert "Set WEIGHBRIDGE_WEBHOOK_TOKEN to" in result.output


def test_a_rehearsal_does_not_delete_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    result = _run("rehearse", "--dir", str(tmp_path))
    assert result.exit_code == 1
    assert "contains files that no rehearsal left there" in result.output
    assert (tmp_path / "thesis.tex").exists()


def test_the_command_line_works_with_only_one_package_installed() -> None:
    alone = (
        "import sys;"
        "sys.modules.update(dict.fromkeys(('producers', 'worker', 'rehearsal')));"
        "import weighbridge"
    )
    subprocess.run([sys.executable, "-c", alone], check=True)
