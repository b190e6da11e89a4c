"""A version that awaits approval, a champion that is evaluated again, a verdict from its evidence.

One story is played on one stage, because what is promoted first is the champion of the next; the
tests look at what was seen on the way.
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

from rehearsal.stage import Stage, empty, set_up
from schemas.events import WeighingId
from schemas.refs import ArtifactRef
from schemas.verdicts import Verdict
from tests.e2e.rehearsed import program_output

_MODELS = "wandb32/wandb-registry-RAG Chat Models"
_TARGET = "wandb32/wandb-registry-RAG Models/Careful"
_LOOK = 0.2  # seconds
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


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, warm_run_dir: Path) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("people") / "new"
    empty(folder)
    with ExitStack() as stack:
        stage = set_up(folder, stack, run_dir=warm_run_dir)
        gates = folder / "gates.yaml"
        gates.write_text(yaml.safe_dump(_gates(yaml.safe_load(gates.read_text()))))
        stage.processes.run("app team", ["-m", "rehearsal.app_team"])
        program_output(stage.environment, "publish_evaluations.py")
        yield stage


def _weighbridge(stage: Stage, *arguments: str, **environment: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "weighbridge", *arguments],
        env=stage.environment | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _link(stage: Stage, folder: Path, gate: str, adapter: str) -> WeighingId:
    """Link an adapter and wait until its weighing under a gate is settled."""
    shutil.copytree(str(files("rehearsal") / "adapters" / adapter), folder)
    (folder / "README.md").write_text(folder.name)  # else W&B would know the files already
    ref = program_output(stage.environment, "link_files.py", str(folder), f"_{gate}")
    weighing = WeighingId.of(gate, ArtifactRef.parse(ref))
    done = _weighbridge(stage, "enqueue", str(weighing.version))
    assert done.returncode == 0, done.stderr
    pause = Event()
    while not ((record := stage.ledger.get(weighing)) and record.settled):
        stage.processes.check()
        pause.wait(_LOOK)
    return weighing


def _verdict(stage: Stage, weighing: WeighingId) -> Verdict:
    record = stage.ledger.get(weighing)
    assert record is not None
    assert record.verdict is not None
    return record.verdict


def _champion(stage: Stage) -> Any:
    return program_output(stage.environment, "find_champion.py", _TARGET)


class Story(NamedTuple):
    """What was seen, in this order."""

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
def story(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("versions")
    seen: dict[str, Any] = {}
    waiting = _link(stage, folder / "first", "careful", "good")
    seen["awaiting"] = _verdict(stage, waiting)
    seen["awaiting_report"] = Path(str(seen["awaiting"].report)).read_text()
    seen["status_then"] = _weighbridge(stage, "status").stdout
    seen["champion_then"] = _champion(stage)
    approve = ("approve", str(waiting.version), "--why", "read it all", "--wait", "--json")
    seen["approved"] = _weighbridge(stage, *approve)
    seen["first_champion"] = _champion(stage)

    unwanted = _link(stage, folder / "second", "careful", "better")
    reject = ("reject", str(unwanted.version), "--why", "not today", "--wait")
    assert _weighbridge(stage, *reject).returncode == 0
    seen["rejected"] = _verdict(stage, unwanted)
    seen["rejected_again"] = _weighbridge(stage, *reject)
    seen["champion_after_rejection"] = _champion(stage)

    others = [_link(stage, folder / name, "other", "worse") for name in ("third", "fourth")]
    seen["others"] = [_verdict(stage, one) for one in others]
    seen["hasty"] = _verdict(stage, _link(stage, folder / "fifth", "hasty", "worse"))

    evidence = seen["others"][0].evidence
    again = ("weigh", "--from", evidence.weave_call, "--gate", "other")
    seen["reached_again"] = _weighbridge(stage, *again)
    gates = yaml.safe_load(Path(stage.environment["WEIGHBRIDGE_GATES"]).read_text())
    gates["gates"][1]["thresholds"][0]["at_least"] = 0.99
    (folder / "gates.yaml").write_text(yaml.safe_dump(gates))
    changed = {"WEIGHBRIDGE_GATES": str(folder / "gates.yaml")}
    seen["by_another_gate"] = _weighbridge(stage, *again, **changed)

    newest = _link(stage, folder / "sixth", "careful", "better")
    assert _weighbridge(stage, "approve", str(newest.version), "--wait").returncode == 0
    seen["second"] = _verdict(stage, newest)
    seen["second_champion"] = _champion(stage)
    seen["rollbacks"] = [_weighbridge(stage, "rollback", "careful") for _ in range(2)]
    seen["champion_in_the_end"] = _champion(stage)
    stage.processes.check()
    return Story(**seen)


def test_a_version_that_passes_waits_for_a_person(story: Story) -> None:
    assert story.awaiting.outcome == "awaiting approval", story.awaiting.reason
    assert story.awaiting.promoted_ref is None
    assert story.champion_then is None
    assert "awaiting approval" in story.status_then
    assert "weighbridge approve" in story.awaiting_report


def test_who_approved_and_why_is_with_the_verdict(story: Story) -> None:
    assert story.approved.returncode == 0, story.approved.stderr
    [record] = json.loads(story.approved.stdout)
    decision = record["verdict"]["decision"]
    assert (decision["approved"], decision["why"]) == (True, "read it all")
    assert decision["by"] in record["verdict"]["reason"]
    assert "read it all" in Path(record["verdict"]["report"]).read_text()


def test_an_approved_version_is_promoted_with_who_approved_it(story: Story) -> None:
    [record] = json.loads(story.approved.stdout)
    champion = story.first_champion
    assert champion["version"] == "v0"
    assert champion["metadata"]["approved_by"] == record["verdict"]["decision"]["by"]
    assert champion["tags"] == ["weighbridge-careful-promoted"]


def test_what_a_person_rejects_changes_nothing(story: Story) -> None:
    assert story.rejected.outcome == "rejected"
    assert "not today" in story.rejected.reason
    assert story.champion_after_rejection == story.first_champion


def test_what_is_decided_is_decided(story: Story) -> None:
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


def test_a_certain_rejection_comes_before_the_last_row(story: Story) -> None:
    assert story.hasty.outcome == "rejected", story.hasty.reason
    assert story.hasty.evidence is not None
    assert 0 < story.hasty.evidence.rows < story.hasty.evidence.of_rows == 66
    assert story.hasty.evidence.rows % _BATCH == 0


def test_a_verdict_is_reached_again_from_its_evidence(story: Story) -> None:
    done = story.reached_again
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_gate_file_is_told_by_the_check_that_differs(story: Story) -> None:
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
