"""Runs, as the real SDK logs them and reads them back."""

from pathlib import Path

import pytest
import wandb
from wandb.apis.public import Api


def test_a_run_shows_what_it_was_started_with(project: str, api: Api) -> None:
    with wandb.init(config={"lr": 0.1}, job_type="train", tags=["a"], group="g", notes="n") as run:
        run.config["epochs"] = 3
    found = api.run(f"{project}/{run.id}")
    assert found.config == {"lr": 0.1, "epochs": 3}
    assert (found.job_type, found.tags, found.group, found.notes) == ("train", ["a"], "g", "n")
    assert found.name == "run-1"
    assert found.user.username == "local"


def test_history_comes_back_step_by_step(project: str, api: Api) -> None:
    with wandb.init() as run:
        for step in range(5):
            run.log({"loss": 1 / (step + 1)} | ({"accuracy": step} if step % 2 else {}))
    found = api.run(f"{project}/{run.id}")
    assert [row["loss"] for row in found.scan_history(keys=["loss"])] == [
        1,
        1 / 2,
        1 / 3,
        1 / 4,
        1 / 5,
    ]
    assert [row["accuracy"] for row in found.scan_history(keys=["accuracy"])] == [1, 3]
    assert [row["_step"] for row in found.scan_history(page_size=2)] == [0, 1, 2, 3, 4]
    assert [row["_step"] for row in found.scan_history(min_step=1, max_step=3)] == [1, 2]
    assert len(found.history(pandas=False)) == 5
    assert [row["_step"] for row in found.history(samples=2, keys=["loss"], pandas=False)] == [0, 4]


def test_nan_and_infinity_come_back(project: str, api: Api) -> None:
    with wandb.init() as run:
        run.log({"loss": float("nan"), "gap": float("inf")})
        run.log({"loss": 1.0, "gap": float("-inf")})
    found = api.run(f"{project}/{run.id}")
    rows = list(found.scan_history(keys=["loss", "gap"]))
    assert [row["loss"] for row in rows] == ["NaN", 1.0]
    assert [row["gap"] for row in rows] == ["Infinity", "-Infinity"]
    assert float(found.summary["gap"]) == float("-inf")


def test_the_summary_can_be_changed_afterwards(project: str, api: Api) -> None:
    with wandb.init() as run:
        run.log({"loss": 0.5})
        run.summary["best"] = 0.25
    found = api.run(f"{project}/{run.id}")
    assert (found.summary["loss"], found.summary["best"]) == (0.5, 0.25)
    found.summary["verdict"] = "promoted"
    found.summary.update()  # type: ignore[no-untyped-call]
    assert api.run(f"{project}/{run.id}").summary["verdict"] == "promoted"


def test_config_and_tags_can_be_changed_afterwards(project: str, api: Api) -> None:
    with wandb.init(config={"lr": 1}) as run:
        pass
    found = api.run(f"{project}/{run.id}")
    found.config["weave"] = "link"
    found.tags = ["weighed"]  # type: ignore[attr-defined]
    found.update()
    again = wandb.Api().run(f"{project}/{run.id}")
    assert again.config == {"lr": 1, "weave": "link"}
    assert again.tags == ["weighed"]
    assert again.state == "finished"


def test_a_run_that_ends_with_an_error_has_failed(project: str, api: Api) -> None:
    run = wandb.init()
    run.finish(exit_code=3)
    assert api.run(f"{project}/{run.id}").state == "failed"


def test_a_resumed_run_continues_its_history(project: str, api: Api) -> None:
    with wandb.init(config={"lr": 1}) as run:
        run.log({"loss": 3})
        run.log({"loss": 2})
    with wandb.init(id=run.id, resume="must") as again:
        assert again.starting_step == 2
        assert again.config["lr"] == 1
        again.log({"loss": 1})
    found = api.run(f"{project}/{run.id}")
    assert [row["loss"] for row in found.scan_history(keys=["loss"])] == [3, 2, 1]


def test_resuming_a_missing_run_is_refused(project: str) -> None:
    with pytest.raises(wandb.errors.UsageError, match="nowhere"):
        wandb.init(id="nowhere", resume="must")


def test_saved_files_come_back_byte_by_byte(project: str, api: Api, tmp_path: Path) -> None:
    saved = tmp_path / "report.bin"
    saved.write_bytes(bytes(range(256)))
    with wandb.init() as run:
        run.save(saved, base_path=tmp_path)
    found = api.run(f"{project}/{run.id}")
    assert "report.bin" in [file.name for file in found.files()]
    with found.file("report.bin").download(root=str(tmp_path / "down")) as file:
        file.close()
    assert (tmp_path / "down" / "report.bin").read_bytes() == saved.read_bytes()


def test_runs_are_found_by_filter_and_sorted(project: str, api: Api) -> None:
    for lr in (3, 1, 2):
        with wandb.init(config={"lr": lr}, job_type="train" if lr > 1 else "other") as run:
            run.summary["loss"] = 10 * lr
    found = api.runs(project, filters={"jobType": "train"}, order="+summary_metrics.loss")
    assert [run.config["lr"] for run in found] == [2, 3]
    found = api.runs(project, filters={"config.lr": {"$lt": 2}})
    assert [run.summary["loss"] for run in found] == [10]
    assert [run.config["lr"] for run in api.runs(project)] == [3, 1, 2]


def test_a_project_is_listed(project: str, api: Api) -> None:
    wandb.init().finish()
    assert project.partition("/")[2] in [p.name for p in api.projects(project.partition("/")[0])]
