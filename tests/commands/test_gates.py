"""`weighbridge gates check --online`; tests/worker/test_gate_check.py tests what it checks."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import weave
from click.testing import Result
from weave.trace.weave_client import WeaveClient

from schemas.gates import Gate
from schemas.settings import Settings
from tests.applications.model_name import Grounded, SupportBot

Command = Callable[..., Result]

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(settings: Settings) -> str:
    return str(settings.gates_path)


@pytest.fixture
def gate(weave_project: WeaveClient, registry: Callable[[str], str], target: str) -> Gate:
    """A gate of a published application that everything fits."""
    bot = SupportBot(model_name="some-model", system_message="Be brief.")
    dataset = weave.Dataset(name="cases", rows=[{"prompt": "Which card?", "target": "Visa"}])
    evaluation = weave.Evaluation(dataset=dataset, scorers=[Grounded()])
    fields = {
        "name": "support",
        "watch": [f"{registry('RAG Chat Models')}/no such collection*"],
        "rag_model": weave.publish(bot, "SupportBot").uri,
        "evaluation": weave.publish(evaluation, "support_eval").uri,
        "thresholds": [{"metric": "Grounded.rate", "at_least": 0.8}],
        "promote": {"to": target, "aliases": ["production"]},
        "application": {"import": ["support"], "exchange": "model_name"},
    }
    weave_project.flush()
    return Gate.model_validate(fields)


def test_a_gate_without_faults_is_one_line_of_what_was_found(
    gate: Gate, file: str, write_gates: Callable[[Gate], None], command: Command
) -> None:
    write_gates(gate)
    result = command("gates", "check", file, "--online")
    assert result.exit_code == 0
    assert result.stdout == (
        f"support: watches 0 collections; promotes to {gate.promote.to}, which is not there yet;"
        " exchanges model_name, which is 'some-model'; measures with Grounded\n"
    )
    assert f"support: warning: watch: {gate.watch[0]} matches no collection" in result.stderr


def test_every_fault_is_a_line_with_the_name_of_its_gate(
    gate: Gate, file: str, write_gates: Callable[[Gate], None], command: Command
) -> None:
    promotion = gate.promote.model_copy(update={"aliases": ("v1", "latest")})
    write_gates(gate.model_copy(update={"promote": promotion}))
    result = command("gates", "check", file, "--online")
    assert result.exit_code == 1
    assert result.stdout == ""
    faults = [line for line in result.stderr.splitlines() if "promote.aliases" in line]
    assert len(faults) == 2
    assert all(fault.startswith("support: promote.aliases: The alias '") for fault in faults)
    assert all(fault.endswith("Choose another one.") for fault in faults)


def test_a_fault_of_the_file_comes_before_any_request(file: str, command: Command) -> None:
    Path(file).write_text("gates: []")
    result = command("gates", "check", file, "--online", WANDB_BASE_URL="http://127.0.0.1:9")
    assert result.exit_code == 1
    assert f"{file}, line 1: gates: " in result.output


def test_the_base_install_names_the_package_that_it_needs() -> None:
    program = (
        "import sys; sys.modules['weave'] = None;"
        "from weighbridge import main;"
        "main(['gates', 'check', 'gates.example.yaml', *sys.argv[1:]])"
    )

    def check(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *options]
        return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)

    assert check().returncode == 0
    refused = check("--online")
    assert refused.returncode == 1
    assert "'gates' needs the package weave" in refused.stderr
