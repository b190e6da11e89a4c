"""Applications of other teams, published by processes that know nothing of Weighbridge."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import wandb
import weave
from weave.trace.weave_client import WeaveClient

from bus.bus import Bus
from bus.ledger import Ledger
from bus.publish import publish_weighing
from rehearsal.processes import Processes
from schemas.errors import EvidenceError, PlatformError
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.verdicts import ChampionEvidence, Verdict
from tests.engine.scripted_engine import (
    Answer,
    Request,
    ScriptedEngine,
    completion,
    knowing,
    scripted_engine,
)
from tests.waiting import wait_for
from tests.worker.weighed import weigh_by
from worker.applications.prepared import spares
from worker.reweigh import reweigh

_APPLICATIONS = Path(__file__).parents[1] / "applications"
_PUBLISH = (
    "import sys, importlib; print(*importlib.import_module(sys.argv[1]).publish(*sys.argv[2:]))"
)
_TIMEOUT = 120.0  # seconds
_FACTS = {
    "How long do parcels take?": "2 to 4 days",
    "Until when may goods be returned?": "30 days",
    "Which card do we take?": "Visa",
    "What is the capital of France?": "Paris",
    "What is 2+2?": "4",
    "What is 2 + 2?": "4",
}


def _answers(knows: int) -> Callable[[Request], Answer]:
    """Answers the first questions as it should be, and the others with "nobody knows"."""
    return knowing(dict(list(_FACTS.items())[:knows]))


@pytest.fixture(autouse=True)
def one_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for the next version would wait in vain, except where a test weighs one."""
    if "next_version" not in request.node.name:
        monkeypatch.setattr(spares, "prepare", lambda _launch: None)


@pytest.fixture
def version_engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as running:
        running.will_answer_by(_answers(knows=len(_FACTS)))
        yield running


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The team's own modules, which its interpreter finds by PYTHONPATH."""
    folder = tmp_path / "team"
    shutil.copytree(
        _APPLICATIONS, folder, ignore=shutil.ignore_patterns("__init__.py", "__pycache__")
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.fixture
def publish(
    weave_project: WeaveClient, project: str, folder: Path, adapter: ArtifactRef, target: str
) -> Callable[..., Gate]:
    """Publishes an application by a process of its team, once, and returns a gate for it."""

    @cache
    def published(module: str, *arguments: str) -> list[str]:
        command = [sys.executable, "-c", _PUBLISH, module, project, "some/older/model:v0"]
        done = subprocess.run(
            [*command, *arguments], check=True, cwd=folder, stdout=subprocess.PIPE, text=True
        )
        return done.stdout.split()[-2:]

    def publish(module: str, metric: str, *arguments: str, **changes: Any) -> Gate:
        rag_model, evaluation = published(module, *arguments)
        application = {"import": [module], "environment": ["PYTHONPATH"]}
        return Gate.model_validate(
            {
                "name": "theirs",
                "watch": [adapter.collection_path],
                "rag_model": rag_model,
                "evaluation": evaluation,
                "thresholds": [{"metric": metric, "at_least": 0.9}],
                "promote": {"to": target, "aliases": ["production"]},
                "application": application | changes.pop("application", {}),
            }
            | changes
        )

    return publish


@pytest.fixture
def weigh(
    publish: Callable[..., Gate],
    adapter: ArtifactRef,
    version_engine: ScriptedEngine,
    settings: Settings,
    ledger: Ledger,
) -> Callable[..., Verdict]:
    """Publishes an application, and weighs the version in it."""

    def weigh(*arguments: str, version: ArtifactRef = adapter, **changes: Any) -> Verdict:
        gate = publish(*arguments, **changes)
        return weigh_by(version_engine.url, gate, version, settings, ledger)

    return weigh


@pytest.fixture
def worker(
    settings: Settings, version_engine: ScriptedEngine, tmp_path: Path
) -> Iterator[Processes]:
    """A GPU worker."""
    environment = os.environ | {
        "CELERY_BROKER_URL": settings.broker_url,
        "WEIGHBRIDGE_RUN_DIR": str(settings.run_dir),
        "WEIGHBRIDGE_CACHE_DIR": str(settings.cache_dir),
        "WEIGHBRIDGE_REPORT_DIR": str(settings.report_dir),
        "WEIGHBRIDGE_ENGINE_URL": version_engine.url,
        "REMAP_SIGTERM": "SIGQUIT",  # Celery: end at once, not when the task is done
    }
    with Processes(tmp_path / "logs", environment) as workers:
        workers.start("gpu worker", ["-m", "weighbridge", "worker", "--queues=gpu"])
        yield workers


def _promoted(verdict: Verdict) -> Any:
    """The promoted application, as plain wandb and weave read it."""
    assert verdict.promoted_ref is not None
    artifact = wandb.Api().artifact(verdict.promoted_ref)
    assert "production" in artifact.aliases
    assert verdict.evidence is not None
    return weave.ref(verdict.evidence.rag_model.uri).get()


def test_a_model_named_by_a_string_is_weighed_with_its_own_scorer(
    weigh: Callable[..., Verdict], version_engine: ScriptedEngine, adapter: ArtifactRef
) -> None:
    verdict = weigh("model_name", "Grounded.rate", application={"exchange": "model_name"})
    assert verdict.outcome == "promoted", verdict.reason
    assert _promoted(verdict).model_name == str(adapter)


def test_a_model_two_objects_deep_is_weighed(
    weigh: Callable[..., Verdict], version_engine: ScriptedEngine
) -> None:
    verdict = weigh("chat_only", "exact.mean", application={"exchange": "pipeline.llm.model"})
    assert verdict.outcome == "promoted", verdict.reason


@pytest.mark.parametrize(("knows", "outcome"), [(6, "promoted"), (0, "rejected")])
def test_a_version_is_promoted_as_its_answers_deserve(
    weigh: Callable[..., Verdict], version_engine: ScriptedEngine, knows: int, outcome: str
) -> None:
    version_engine.will_answer_by(_answers(knows))
    verdict = weigh("chat_only", "exact.mean", application={"exchange": "pipeline.llm.model"})
    assert verdict.outcome == outcome, verdict.reason


def test_a_version_is_never_its_own_judge(
    weigh: Callable[..., Verdict], version_engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_MODEL_JUDGE", "the-judges-key")
    with scripted_engine() as judge:
        judge.will_answer(completion("yes"))
        endpoint = {
            "base_url": judge.url,
            "key_variable": "WEIGHBRIDGE_MODEL_JUDGE",
            "model": "big",
        }
        verdict = weigh(
            "judged",
            "judged.same.true_fraction",
            application={"exchange": "model_name", "models": {"judge-model": endpoint}},
        )
    assert verdict.outcome == "promoted", verdict.reason
    assert [request.body["model"] for request in judge.requests] == ["big", "big"]
    assert all(
        request.headers["authorization"] == "Bearer the-judges-key" for request in judge.requests
    )
    asked = [request.body for request in version_engine.requests if "messages" in request.body]
    assert not any("Same?" in body["messages"][-1]["content"] for body in asked)


def test_the_versions_own_usage_is_measured_and_can_be_checked_again(
    weigh: Callable[..., Verdict],
    publish: Callable[..., Gate],
    weave_project: WeaveClient,
    adapter: ArtifactRef,
) -> None:
    weave_project.add_cost(adapter.collection_path, 0.5, 0.5)
    limits = [
        {"metric": "usage.requests", "at_most": 2},
        {"metric": "usage.total_tokens", "at_most": 10},
        {"metric": "cost.total", "at_most": 6},
    ]
    changes: dict[str, Any] = {
        "application": {"exchange": "pipeline.llm.model"},
        "thresholds": limits,
    }
    verdict = weigh("chat_only", "", **changes)
    assert [check.value for check in verdict.checks] == [2, 10, 5]
    assert verdict.evidence is not None
    gate = publish("chat_only", "", **changes)
    assert reweigh(weave_project, verdict.evidence.weave_call, gate).differing == []


def test_the_next_version_finds_the_imports_done(
    weigh: Callable[..., Verdict], link_adapter: Callable[[], ArtifactRef], settings: Settings
) -> None:
    changes = {"application": {"exchange": "pipeline.llm.model"}}
    weigh("chat_only", "exact.mean", **changes)
    logs = settings.run_dir / "applications"
    started = set(logs.iterdir())
    assert len(started) == 2  # it, and the one that waits
    weigh("chat_only", "exact.mean", version=link_adapter(), **changes)
    assert len(set(logs.iterdir()) - started) == 1


def test_an_evaluation_stops_early_when_the_verdict_is_certain(
    weigh: Callable[..., Verdict], version_engine: ScriptedEngine
) -> None:
    version_engine.will_answer_by(_answers(knows=0))
    verdict = weigh(
        "misbehaving",
        "correct.true_fraction",
        "says no 40 times",
        application={"exchange": "model_name"},
        early_stop={"batch": 4},
    )
    assert verdict.outcome == "rejected"
    assert verdict.evidence is not None
    assert verdict.evidence.rows < verdict.evidence.of_rows == 40


def test_a_champions_rows_count_only_for_the_same_packages(
    weigh: Callable[..., Verdict], link_adapter: Callable[[], ArtifactRef], folder: Path
) -> None:
    relative = {"metric": "exact.mean", "no_worse_than": "champion", "margin": 0.9}
    changes = {"application": {"exchange": "pipeline.llm.model"}, "thresholds": [relative]}
    weigh("chat_only", "", **changes)

    def champion() -> ChampionEvidence:
        evidence = weigh("chat_only", "", version=link_adapter(), **changes).evidence
        assert evidence is not None
        assert evidence.champion is not None
        return evidence.champion

    assert not champion().evaluated_again
    package = folder / "acme_tokenizer-2.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tokenizer\nVersion: 2.0\n")
    assert champion().evaluated_again


def _breaks(weigh: Callable[..., Verdict], how: str, **application: Any) -> Verdict:
    changes = {"exchange": "model_name"} | application
    return weigh("misbehaving", "correct.true_fraction", how, application=changes)


@pytest.mark.parametrize(
    ("how", "kind", "reason"),
    [
        ("exits", PlatformError, r"(?s)exit code 7\. Its log is .*the index is broken"),
        ("raises", EvidenceError, "1 of 3 rows have no answer"),
    ],
)
def test_a_broken_application_fails_one_attempt_with_the_reason(
    weigh: Callable[..., Verdict], target: str, how: str, kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        _breaks(weigh, how)
    assert _collections(target) == []


def test_nothing_is_left_of_an_application_that_hangs(weigh: Callable[..., Verdict]) -> None:
    with pytest.raises(PlatformError, match=r"longer than 15 s \(application.timeout\)"):
        _breaks(weigh, "hangs", timeout=15)
    assert _sleepers() == []


def _opened(bus: Bus, gate: Gate, version: ArtifactRef) -> WeighingId:
    weighing = WeighingId.of(gate.name, version)
    bus.ledger.open(weighing, gate, ModelVersionEvent(ref=version, source="webhook"))
    publish_weighing(bus, weighing)
    return weighing


def test_a_celery_worker_weighs_an_application(
    publish: Callable[..., Gate], bus: Bus, worker: Processes, adapter: ArtifactRef
) -> None:
    gate = publish("chat_only", "exact.mean", application={"exchange": "pipeline.llm.model"})
    weighing = _opened(bus, gate, adapter)

    def has_ended() -> bool:
        record = bus.ledger.get(weighing)
        return record is not None and record.verdict is not None

    worker.wait_for("gpu worker", has_ended, _TIMEOUT)
    record = bus.ledger.get(weighing)
    assert record is not None
    assert record.verdict is not None
    assert record.verdict.outcome == "promoted", record.verdict.reason


def test_nothing_is_left_of_an_application_whose_worker_is_killed(
    publish: Callable[..., Gate], bus: Bus, worker: Processes, adapter: ArtifactRef
) -> None:
    gate = publish("misbehaving", "correct.mean", "hangs", application={"exchange": "model_name"})
    _opened(bus, gate, adapter)
    worker.wait_for("gpu worker", lambda: bool(_sleepers()), _TIMEOUT)
    os.killpg(worker.child("gpu worker").pid, signal.SIGKILL)
    wait_for(lambda: not _sleepers(), _TIMEOUT)


def test_an_answer_that_is_no_json_counts_as_any_other(weigh: Callable[..., Verdict]) -> None:
    assert _breaks(weigh, "returns an object").outcome == "promoted"


def test_an_application_sees_none_of_the_workers_secrets(
    weigh: Callable[..., Verdict], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", settings.broker_url)
    monkeypatch.setenv("WEIGHBRIDGE_WEBHOOK_TOKEN", "the-token")
    monkeypatch.setenv("WEIGHBRIDGE_WEBHOOK_SECRET", "the-secret")
    changes = {"thresholds": [{"metric": "secrets.mean", "at_most": 0}]}
    verdict = weigh("misbehaving", "", "", application={"exchange": "model_name"}, **changes)
    assert verdict.outcome == "promoted", verdict.reason


def _collections(target: str) -> list[str]:
    organization, registry, name = target.split("/")
    found = wandb.Api().registry(
        registry.removeprefix("wandb-registry-"), organization=organization
    )
    return [one.name for one in found.collections() if one.name == name]


def _sleepers() -> list[psutil.Process]:
    """What the application that hangs has started."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cmdline()[-1:] == ["import time; time.sleep(4321)"]:
                found.append(process)
    return found
