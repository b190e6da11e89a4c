"""A version that awaits approval, a champion that is evaluated again, a verdict from its evidence.

The tests share one sequence of versions, because the version that is promoted first is the champion
of the next; each test checks a part of what the sequence recorded. A server with scripted answers
is the engine: half of them are right, whatever the version.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import pytest
import yaml

from rehearsal import climate
from rehearsal.services import Services, prepare_folder, start_services
from schemas.events import WeighingId
from schemas.refs import ArtifactRef
from schemas.verdicts import Verdict
from tests.e2e.rehearsed import program_output
from tests.engine.scripted_engine import knowing, scripted_engine

_MODELS = "wandb32/wandb-registry-RAG Chat Models"
_TARGET = "wandb32/wandb-registry-RAG Models/Careful"
_POLL_INTERVAL = 0.2  # seconds
_BATCH = 8
_CORRECT = "answer_correctness.mean"
_NO_WORSE = {"metric": _CORRECT, "no_worse_than": "champion", "margin": 0.5}


def _gates(gates: dict[str, Any]) -> dict[str, Any]:
    usual = gates["gates"][0]

    def gate(name: str, evaluation: str, *thresholds: dict[str, Any], **more: Any) -> Any:
        project, _, _ = usual["evaluation"].rpartition("/")
        changes = {
            "name": name,
            "watch": [f"{_MODELS}/_{name}"],
            "evaluation": f"{project}/{evaluation}:latest",
            "thresholds": list(thresholds),
            "promote": {"to": _TARGET, "aliases": ["production"]},
        }
        return usual | changes | more

    at_least = {"metric": _CORRECT, "at_least": 0.1}
    return {
        "gates": [
            gate("careful", "first_rows", at_least, _NO_WORSE, approval="required"),
            gate("other", "other_rows", at_least, _NO_WORSE),
            gate(
                "hasty",
                "climate_rag_eval",
                {"metric": _CORRECT, "at_least": 0.999},
                early_stop={"batch": _BATCH},
            ),
        ]
    }


def _half_of_the_answers() -> dict[str, str]:
    rows = climate.questions()
    return {one.question: one.answer for one in rows[::2]}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("people") / "new"
    prepare_folder(folder)
    with ExitStack() as stack:
        engine = stack.enter_context(scripted_engine())
        engine.will_answer_by(knowing(_half_of_the_answers()))
        variables = stack.enter_context(pytest.MonkeyPatch.context())
        variables.setenv("WEIGHBRIDGE_ENGINE_URL", engine.url)
        services = start_services(folder, stack)
        gates = folder / "gates.yaml"
        gates.write_text(yaml.safe_dump(_gates(yaml.safe_load(gates.read_text()))))
        services.processes.run("app team", ["-m", "rehearsal.app_team"])
        program_output(services.environment, "publish_evaluations.py")
        yield services


def _weighbridge(services: Services, *arguments: str, **environment: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "weighbridge", *arguments],
        env=services.environment | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _link(services: Services, folder: Path, gate: str, adapter: str) -> WeighingId:
    """Link an adapter and wait until its weighing under a gate is settled."""
    shutil.copytree(str(files("rehearsal") / "adapters" / adapter), folder)
    (folder / "README.md").write_text(folder.name)  # equal files would be the same version
    ref = program_output(services.environment, "link_files.py", str(folder), f"_{gate}")
    weighing = WeighingId.of(gate, ArtifactRef.parse(ref))
    done = _weighbridge(services, "enqueue", str(weighing.version))
    assert done.returncode == 0, done.stderr
    pause = Event()
    while not ((record := services.ledger.get(weighing)) and record.settled):
        services.processes.check()
        pause.wait(_POLL_INTERVAL)
    return weighing


def _verdict(services: Services, weighing: WeighingId) -> Verdict:
    record = services.ledger.get(weighing)
    assert record is not None
    assert record.verdict is not None
    return record.verdict


def _champion(services: Services) -> Any:
    return program_output(services.environment, "find_champion.py", _TARGET)


class Story(NamedTuple):
    """The recorded observations, in this order."""

    awaiting: Verdict
    awaiting_report: str
    status_then: str
    champion_then: Any
    approved: Any  # `approve --wait --json`
    first_champion: Any
    rejected: Verdict
    rejected_again: Any  # the second `reject`
    champion_after_rejection: Any
    others: list[Verdict]  # two versions under another evaluation
    hasty: Verdict
    reached_again: Any
    by_another_gate: Any
    second: Verdict
    second_champion: Any
    rollbacks: list[Any]
    champion_in_the_end: Any


@pytest.fixture(scope="module")
def story(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("versions")
    seen: dict[str, Any] = {}
    waiting = _link(services, folder / "first", "careful", "good")
    seen["awaiting"] = _verdict(services, waiting)
    seen["awaiting_report"] = Path(str(seen["awaiting"].report)).read_text()
    seen["status_then"] = _weighbridge(services, "status").stdout
    seen["champion_then"] = _champion(services)
    approve = ("approve", str(waiting.version), "--why", "read it all", "--wait", "--json")
    seen["approved"] = _weighbridge(services, *approve)
    seen["first_champion"] = _champion(services)

    unwanted = _link(services, folder / "second", "careful", "better")
    reject = ("reject", str(unwanted.version), "--why", "not today", "--wait")
    assert _weighbridge(services, *reject).returncode == 0
    seen["rejected"] = _verdict(services, unwanted)
    seen["rejected_again"] = _weighbridge(services, *reject)
    seen["champion_after_rejection"] = _champion(services)

    others = [_link(services, folder / name, "other", "worse") for name in ("third", "fourth")]
    seen["others"] = [_verdict(services, one) for one in others]
    seen["hasty"] = _verdict(services, _link(services, folder / "fifth", "hasty", "worse"))

    evidence = seen["others"][0].evidence
    again = ("weigh", "--from", evidence.weave_call, "--gate", "other")
    seen["reached_again"] = _weighbridge(services, *again)
    gates = yaml.safe_load(Path(services.environment["WEIGHBRIDGE_GATES"]).read_text())
    gates["gates"][1]["thresholds"][0]["at_least"] = 0.99
    (folder / "gates.yaml").write_text(yaml.safe_dump(gates))
    changed = {"WEIGHBRIDGE_GATES": str(folder / "gates.yaml")}
    seen["by_another_gate"] = _weighbridge(services, *again, **changed)

    newest = _link(services, folder / "sixth", "careful", "better")
    assert _weighbridge(services, "approve", str(newest.version), "--wait").returncode == 0
    seen["second"] = _verdict(services, newest)
    seen["second_champion"] = _champion(services)
    seen["rollbacks"] = [_weighbridge(services, "rollback", "careful") for _ in range(2)]
    seen["champion_in_the_end"] = _champion(services)
    services.processes.check()
    return Story(**seen)


def test_a_version_that_passes_waits_for_a_person(story: Story) -> None:
    assert story.awaiting.outcome == "awaiting approval", story.awaiting.reason
    assert story.awaiting.promoted_ref is None
    assert story.champion_then is None
    assert "awaiting approval" in story.status_then
    assert "weighbridge approve" in story.awaiting_report


def test_the_verdict_records_who_approved_and_why(story: Story) -> None:
    assert story.approved.returncode == 0, story.approved.stderr
    [record] = json.loads(story.approved.stdout)
    decision = record["verdict"]["decision"]
    assert (decision["approved"], decision["why"]) == (True, "read it all")
    assert decision["by"] in record["verdict"]["reason"]
    assert "read it all" in Path(record["verdict"]["report"]).read_text()


def test_a_promoted_version_records_who_approved_it(story: Story) -> None:
    [record] = json.loads(story.approved.stdout)
    champion = story.first_champion
    assert champion["version"] == "v0"
    assert champion["metadata"]["approved_by"] == record["verdict"]["decision"]["by"]
    assert champion["tags"] == ["weighbridge-careful-promoted"]


def test_a_manual_rejection_changes_nothing(story: Story) -> None:
    assert story.rejected.outcome == "rejected"
    assert "not today" in story.rejected.reason
    assert story.champion_after_rejection == story.first_champion


def test_a_decision_is_final(story: Story) -> None:
    assert story.rejected_again.returncode == 1
    assert "is rejected" in story.rejected_again.stderr


def test_a_champion_of_another_evaluation_is_evaluated_again_once(story: Story) -> None:
    first, second = (verdict.evidence for verdict in story.others)
    assert first is not None
    assert second is not None
    assert first.champion is not None
    assert first.champion.evaluated_again
    assert str(first.champion.version) == f"{_TARGET}:v0"
    assert second.champion == first.champion


def test_a_certain_rejection_stops_before_the_last_row(story: Story) -> None:
    assert story.hasty.outcome == "rejected", story.hasty.reason
    assert story.hasty.evidence is not None
    assert 0 < story.hasty.evidence.rows < story.hasty.evidence.of_rows == 66
    assert story.hasty.evidence.rows % _BATCH == 0


def test_a_verdict_is_reached_again_from_its_evidence(story: Story) -> None:
    done = story.reached_again
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_gate_is_reported_as_a_differing_check(story: Story) -> None:
    done = story.by_another_gate
    assert done.returncode == 1
    assert "differs answer_correctness.mean >= 0.99: new in the gate" in done.stdout
    assert "differs answer_correctness.mean >= 0.1: no longer in the gate" in done.stdout


def test_a_rollback_gives_the_aliases_back_and_does_so_once(story: Story) -> None:
    first, second = story.rollbacks
    assert story.second_champion["version"] != "v0"
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    moved = f"production moved from {story.second.promoted_ref} to {_TARGET}:v0"
    assert moved in first.stdout
    assert "already rolled back" in second.stdout
    assert story.champion_in_the_end["version"] == "v0"
