"""Lineage: the run that logged a version, the runs that used it, and its links."""

from collections.abc import Callable

import wandb
from wandb.apis.public import Api

Log = Callable[..., wandb.Artifact]


def test_a_version_has_the_run_that_logged_it_and_the_runs_that_used_it(
    project: str, registry: str, api: Api, log: Log
) -> None:
    log("one", link=f"{registry}/Models")
    with wandb.init(job_type="model_evaluation") as user:
        user.use_artifact(f"{registry}/Models:latest")
        user.use_artifact(f"{registry}/Models:latest")
    found = api.artifact(f"{registry}/Models:v0")
    maker = found.logged_by()
    assert maker is not None
    assert maker.job_type == "train"
    assert [run.id for run in found.used_by()] == [user.id]
    assert [run.id for run in api.artifact(f"{project}/adapter:v0").used_by()] == [user.id]


def test_a_run_has_its_logged_and_its_used_artifacts(project: str, api: Api, log: Log) -> None:
    log("one")
    with wandb.init() as user:
        user.use_artifact("adapter:v0")
        user.log_artifact(wandb.Artifact("empty", type="report")).wait()
    run = api.run(f"{project}/{user.id}")
    assert [a.name for a in run.used_artifacts()] == ["adapter:v0"]
    assert [a.name for a in run.logged_artifacts()] == ["empty:v0"]


def test_a_version_has_its_links(project: str, registry: str, api: Api, log: Log) -> None:
    log("one", link=f"{registry}/A")
    log("one", link=f"{registry}/B")
    found = api.artifact(f"{project}/adapter:v0")
    assert sorted(a.qualified_name for a in found.linked_artifacts) == [
        f"{registry}/A:v0",
        f"{registry}/B:v0",
    ]
    assert (
        api.artifact(f"{registry}/A:v0").source_artifact.qualified_name == f"{project}/adapter:v0"
    )
