"""A verdict is published on the run, on the version, in Weave and in the report folder."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
import wandb
import weave
from weave.trace.weave_client import WeaveClient

from registry.calls import wandb_api
from schemas.applications import Columns
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.verdicts import Verdict
from tests.worker.weighed import evaluated, gate_of, verdict_of
from worker.publishing import recorded_verdict
from worker.publishing.publish import Predictions, publish_predictions, publish_verdict
from worker.verdict.evidence import Evaluated

Publish = Callable[..., Verdict]


@pytest.fixture
def weighed_by(weave_project: WeaveClient, target: str) -> Gate:
    return gate_of(weave_project, target)


@pytest.fixture
def version(link: Callable[..., str]) -> ArtifactRef:
    return ArtifactRef.parse(link(uuid4().hex, f"published {uuid4().hex[:8]}"))


@pytest.fixture
def found(weave_project: WeaveClient, run: wandb.Run) -> Evaluated:
    return evaluated(weave_project, run, knows=10)


@pytest.fixture
def verdict(weighed_by: Gate, version: ArtifactRef, run: wandb.Run, found: Evaluated) -> Verdict:
    return verdict_of(weighed_by, version, run, found)


@pytest.fixture
def publish(
    weave_project: WeaveClient,
    run: wandb.Run,
    weighed_by: Gate,
    found: Evaluated,
    settings: Settings,
) -> Publish:
    api = wandb_api(settings.wandb_timeout)
    predictions = Predictions.of(weighed_by, found.rows, None)

    def publish(verdict: Verdict) -> Verdict:
        return publish_verdict(weave_project, run, api, weighed_by, verdict, predictions, settings)

    return publish


def _version_tags(verdict: Verdict) -> list[str]:
    return list(wandb.Api().artifact(str(verdict.weighing.version)).tags)


def test_the_report_is_a_file_and_the_same_page_is_in_the_run(
    publish: Publish, verdict: Verdict, run: wandb.Run, settings: Settings
) -> None:
    published = publish(verdict)
    assert published.report is not None
    page = Path(published.report).read_text(encoding="utf-8")
    assert Path(published.report).parent == settings.report_dir
    assert verdict.reason in page
    logged = run.summary["report"]
    assert logged["_type"] == "html-file"
    assert Path(run.dir, logged["path"]).read_text(encoding="utf-8") == page


def test_the_run_the_version_and_the_call_show_the_verdict(
    weave_project: WeaveClient, publish: Publish, verdict: Verdict, run: wandb.Run
) -> None:
    published = publish(verdict)
    assert published == verdict.model_copy(update={"report": published.report})
    assert run.tags == ("weighbridge-promoted",)
    assert _version_tags(verdict) == ["weighbridge-climate-rag-promoted"]
    assert published.evidence
    assert recorded_verdict(weave_project, published.evidence.weave_call) == published


def test_publishing_again_replaces_the_verdict(
    weave_project: WeaveClient, publish: Publish, verdict: Verdict, run: wandb.Run
) -> None:
    first = publish(verdict)
    rejected = verdict.model_copy(update={"outcome": "rejected", "reason": "A person said no."})
    published = publish(rejected)
    assert published.report == first.report
    assert published.report is not None
    assert "A person said no." in Path(published.report).read_text(encoding="utf-8")
    assert list(Path(published.report).parent.iterdir()) == [Path(published.report)]
    assert run.tags == ("weighbridge-rejected",)
    assert _version_tags(verdict) == ["weighbridge-climate-rag-rejected"]
    assert published.evidence
    assert recorded_verdict(weave_project, published.evidence.weave_call) == published


def test_an_unwritable_report_folder_does_not_change_the_verdict(
    publish: Publish, verdict: Verdict, run: wandb.Run, settings: Settings
) -> None:
    settings.report_dir.write_text("a file where the folder should be")
    with structlog.testing.capture_logs() as logs:
        published = publish(verdict)
    assert published == verdict
    assert published.report is None
    [warning] = [one for one in logs if one["log_level"] == "warning"]
    assert f"cannot be written to {settings.report_dir}" in warning["reason"]
    assert run.summary["report"]["_type"] == "html-file"
    assert _version_tags(verdict) == ["weighbridge-climate-rag-promoted"]


def test_the_champions_predictions_are_on_the_same_rows(
    weave_project: WeaveClient, run: wandb.Run, weighed_by: Gate, found: Evaluated
) -> None:
    theirs = evaluated(weave_project, run, knows=4)
    early = found.rows[:5]
    predictions = Predictions.of(weighed_by, early, theirs.rows)
    assert predictions.champion is not None
    assert [one.id for one in predictions.candidate] == [one.id for one in predictions.champion]
    assert len(predictions.candidate) == len(early)
    assert Predictions.of(weighed_by, early, None).champion is None


def test_predictions_become_tables_and_a_leaderboard(
    weave_project: WeaveClient, run: wandb.Run, weighed_by: Gate, found: Evaluated
) -> None:
    theirs = evaluated(weave_project, run, knows=4)
    predictions = Predictions.of(weighed_by, found.rows, theirs.rows)
    for _ in range(2):
        publish_predictions(weave_project, run, weighed_by, found.evaluation, predictions)
    assert run.summary["predictions"]["nrows"] == len(found.rows)
    assert run.summary["changed_predictions"]["nrows"] == 10 - 4
    board = weave.ref(f"{weighed_by.name}:latest").get()
    columns = [(one.scorer_name, one.summary_metric_path) for one in board.columns]
    assert columns == [("correct", "true_fraction"), ("similar", "mean")]


def test_a_column_that_no_row_has_is_reported_and_changes_no_verdict(
    weave_project: WeaveClient,
    run: wandb.Run,
    weighed_by: Gate,
    found: Evaluated,
    verdict: Verdict,
    settings: Settings,
) -> None:
    gate = weighed_by.model_copy(update={"columns": Columns(topic="area", truth="answer")})
    predictions = Predictions.of(gate, found.rows, None)
    with structlog.testing.capture_logs() as logs:
        publish_predictions(weave_project, run, gate, found.evaluation, predictions)
        published = publish_verdict(
            weave_project,
            run,
            wandb_api(settings.wandb_timeout),
            gate,
            verdict,
            predictions,
            settings,
        )
    assert published == verdict.model_copy(update={"report": published.report})
    [warning] = [one for one in logs if one["log_level"] == "warning"]
    remark = (
        "columns.topic: area is in no row. The columns of the dataset are id, question, answer and"
        " share."
    )
    assert warning["gate"] == gate.name
    assert warning["reason"].startswith(remark)
    assert published.report is not None
    assert remark in Path(published.report).read_text(encoding="utf-8")
