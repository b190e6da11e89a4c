"""The tables of predictions, read back from the artifacts that the run logged."""

import pytest
import wandb

from worker.publishing import log_tables
from worker.publishing.predictions import Prediction


def _prediction(number: int, answer: str = "yes", confidence: float | None = None) -> Prediction:
    correct = answer == "yes"
    return Prediction(
        id=f"q{number}",
        input=f"question {number}",
        ground_truth="yes",
        prediction=answer,
        correct=correct,
        score=float(correct),
        confidence=confidence,
        error_type="" if correct else "answer",
        topic="ice",
        context=("a passage",),
    )


@pytest.fixture(autouse=True)
def _as_in_a_worker(project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DISABLE_WEAVE", "true")


def _log(
    candidate: list[Prediction], champion: list[Prediction] | None = None, *, times: int = 1
) -> str:
    settings = wandb.Settings(console="off", reinit="create_new")
    with wandb.init(settings=settings) as run:
        for _ in range(times):
            log_tables(run, candidate, champion)
    return run.path


def _table(run_path: str, key: str) -> wandb.Table:
    project, _, run_id = run_path.rpartition("/")
    artifact = wandb.Api().artifact(f"{project}/run-{run_id}-{key}:latest")
    assert artifact.version == "v0"
    table = artifact.get(key)
    assert isinstance(table, wandb.Table)
    return table


def test_every_prediction_is_a_row(project: str) -> None:
    table = _table(_log([_prediction(1, confidence=0.25), _prediction(2, "no")]), "predictions")
    assert table.columns == [
        "id",
        "input",
        "ground_truth",
        "prediction",
        "correct",
        "confidence",
        "error_type",
        "topic",
    ]
    assert table.data == [
        ["q1", "question 1", "yes", "yes", True, 0.25, "", "ice"],
        ["q2", "question 2", "yes", "no", False, None, "answer", "ice"],
    ]


def test_the_run_names_its_tables(project: str) -> None:
    summary = wandb.Api().run(_log([_prediction(1)], [])).summary
    assert {key: summary[key]["nrows"] for key in ("predictions", "changed_predictions")} == {
        "predictions": 1,
        "changed_predictions": 0,
    }


def test_columns_keep_their_types_whatever_is_in_them(project: str) -> None:
    logged = (_log([]), _log([_prediction(1)]), _log([_prediction(1, confidence=0.25)]))
    first, *others = (_table(path, "predictions")._column_types for path in logged)
    assert all(types == first for types in others)


def test_rows_that_exactly_one_got_right_are_shown_with_both_answers(project: str) -> None:
    candidate = [_prediction(1), _prediction(2, "no"), _prediction(3)]
    champion = [_prediction(1, "no"), _prediction(2), _prediction(3)]
    table = _table(_log(candidate, champion), "changed_predictions")
    assert table.columns == [
        "id",
        "input",
        "ground_truth",
        "candidate",
        "champion",
        "right",
        "topic",
    ]
    assert table.data == [
        ["q1", "question 1", "yes", "yes", "no", "candidate", "ice"],
        ["q2", "question 2", "yes", "no", "yes", "champion", "ice"],
    ]


def test_without_a_champion_there_is_no_table_of_changes(project: str) -> None:
    assert "changed_predictions" not in wandb.Api().run(_log([_prediction(1)])).summary


def test_logging_twice_creates_no_second_version(project: str) -> None:
    path = _log([_prediction(1)], [_prediction(1, "no")], times=2)
    assert len(_table(path, "predictions").data) == 1
    assert len(_table(path, "changed_predictions").data) == 1
