"""A verdict is found in the run, on the version, in Weave and in the report folder."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
import wandb
import weave
from weave.trace.weave_client import WeaveClient

from registry.calls import wandb_api
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.verdicts import Verdict
from tests.worker.weighed import evaluated, gate_of, verdict_of
from worker.publishing import recorded_verdict
from worker.publishing.publish import Predictions, publish_predictions, publish_verdict
from worker.verdict.evidence import Evaluated

Announce = Callable[..., Verdict]


@pytest.fixture
def weighed_by(weave_project: WeaveClient, target: str) -> Gate:
    return gate_of(weave_project, target)


@pytest.fixture
def version(link: Callable[..., str]) -> ArtifactRef:
    return ArtifactRef.parse(link(uuid4().hex, f"announced {uuid4().hex[:8]}"))


@pytest.fixture
def found(weave_project: WeaveClient, run: wandb.Run) -> Evaluated:
    return evaluated(weave_project, run, knows=10)


@pytest.fixture
def verdict(weighed_by: Gate, version: ArtifactRef, run: wandb.Run, found: Evaluated) -> Verdict:
    return verdict_of(weighed_by, version, run, found)


@pytest.fixture
def announced(
    weave_project: WeaveClient,
    run: wandb.Run,
    weighed_by: Gate,
    found: Evaluated,
    settings: Settings,
) -> Announce:
    api = wandb_api(settings.wandb_timeout)
    findings = Predictions.of(weighed_by, found.rows, None)

    def say(verdict: Verdict) -> Verdict:
        return publish_verdict(weave_project, run, api, weighed_by, verdict, findings, settings)

    return say


def _version_tags(verdict: Verdict) -> list[str]:
    return list(wandb.Api().artifact(str(verdict.weighing.version)).tags)


def test_the_report_is_a_file_and_the_same_page_is_in_the_run(
    announced: Announce, verdict: Verdict, run: wandb.Run, settings: Settings
) -> None:
    said = announced(verdict)
    assert said.report is not None
    page = Path(said.report).read_text(encoding="utf-8")
    assert Path(said.report).parent == settings.report_dir
    assert verdict.reason in page
    logged = run.summary["report"]
    assert logged["_type"] == "html-file"
    assert Path(run.dir, logged["path"]).read_text(encoding="utf-8") == page


def test_run_version_and_call_have_the_verdict(
    weave_project: WeaveClient, announced: Announce, verdict: Verdict, run: wandb.Run
) -> None:
    said = announced(verdict)
    assert said == verdict.model_copy(update={"report": said.report})
    assert run.tags == ("weighbridge-promoted",)
    assert _version_tags(verdict) == ["weighbridge-climate-rag-promoted"]
    assert said.evidence
    assert recorded_verdict(weave_project, said.evidence.weave_call) == said


def test_announcing_again_replaces_what_was_said(
    weave_project: WeaveClient, announced: Announce, verdict: Verdict, run: wandb.Run
) -> None:
    first = announced(verdict)
    rejected = verdict.model_copy(update={"outcome": "rejected", "reason": "A person said no."})
    said = announced(rejected)
    assert said.report == first.report
    assert said.report is not None
    assert "A person said no." in Path(said.report).read_text(encoding="utf-8")
    assert list(Path(said.report).parent.iterdir()) == [Path(said.report)]
    assert run.tags == ("weighbridge-rejected",)
    assert _version_tags(verdict) == ["weighbridge-climate-rag-rejected"]
    assert said.evidence
    assert recorded_verdict(weave_project, said.evidence.weave_call) == said


def test_a_report_folder_that_cannot_be_written_changes_no_verdict(
    announced: Announce, verdict: Verdict, run: wandb.Run, settings: Settings
) -> None:
    settings.report_dir.write_text("a file where the folder should be")
    with structlog.testing.capture_logs() as logs:
        said = announced(verdict)
    assert said == verdict
    assert said.report is None
    [warning] = [one for one in logs if one["log_level"] == "warning"]
    assert f"cannot be written to {settings.report_dir}" in warning["reason"]
    assert run.summary["report"]["_type"] == "html-file"
    assert _version_tags(verdict) == ["weighbridge-climate-rag-promoted"]


def test_findings_compare_only_rows_that_both_were_asked(
    weave_project: WeaveClient, run: wandb.Run, weighed_by: Gate, found: Evaluated
) -> None:
    theirs = evaluated(weave_project, run, knows=4)
    early = found.rows[:5]
    findings = Predictions.of(weighed_by, early, theirs.rows)
    assert findings.champion is not None
    assert [one.id for one in findings.candidate] == [one.id for one in findings.champion]
    assert len(findings.candidate) == len(early)
    assert Predictions.of(weighed_by, early, None).champion is None


def test_findings_are_tables_of_the_run_and_a_leaderboard(
    weave_project: WeaveClient, run: wandb.Run, weighed_by: Gate, found: Evaluated
) -> None:
    theirs = evaluated(weave_project, run, knows=4)
    findings = Predictions.of(weighed_by, found.rows, theirs.rows)
    for _ in range(2):
        publish_predictions(weave_project, run, weighed_by, found.evaluation, findings)
    assert run.summary["predictions"]["nrows"] == len(found.rows)
    assert run.summary["changed_predictions"]["nrows"] == 10 - 4
    board = weave.ref(f"{weighed_by.name}:latest").get()
    columns = [(one.scorer_name, one.summary_metric_path) for one in board.columns]
    assert columns == [("correct", "true_fraction"), ("similar", "mean")]
