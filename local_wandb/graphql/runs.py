"""Runs: their configuration, their files, and the artifacts that they used and logged."""

import fnmatch
import json
from dataclasses import dataclass

from local_wandb.errors import NotFoundError, RequestError
from local_wandb.graphql.accounts import User, require_entity
from local_wandb.graphql.context import Context
from local_wandb.graphql.documents import run_document
from local_wandb.graphql.files import File, file_of_run
from local_wandb.graphql.filters import select
from local_wandb.graphql.ids import global_id, row_id
from local_wandb.graphql.pages import Connection, page
from local_wandb.graphql.projects import require_project
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.store.clock import now
from local_wandb.store.lineage import inputs_of, outputs_of
from local_wandb.store.projects import ensure_project
from local_wandb.store.rows import Project, Run
from local_wandb.store.store import Store

#: W&B's name for the project of runs that name none.
NO_PROJECT = "uncategorized"


@dataclass(frozen=True)
class UpsertBucketPayload:
    """The answer to a new or changed run."""

    bucket: Run
    inserted: bool


@dataclass(frozen=True)
class RunFilesPayload:
    """The upload addresses of a run's files, in the order of the request."""

    run: Run
    files: list[File]


RESOLVERS = Resolvers()
RESOLVERS.row(Run)
RESOLVERS.row(UpsertBucketPayload)
RESOLVERS.row(RunFilesPayload, "CreateRunFilesPayload")
RESOLVERS.constant(None, "Run.sweepName", "Run.systemMetrics")
RESOLVERS.constant(False, "Run.readOnly")
RESOLVERS.constant(User(), "Run.user")
RESOLVERS.constant([], "CreateRunFilesPayload.uploadHeaders")


def require_run(context: Context, entity: str | None, project: str | None, name: str) -> Run:
    """Return a run by its names.

    Args:
        entity: The name of the entity; None is the team.
        project: The name of the project.
        name: The run id of the run's address.

    Raises:
        NotFoundError: There is no such run.
    """
    owner = require_project(context, entity, project)
    found = context.store.runs.find(project_id=owner.id, name=name)
    if found is None:
        raise NotFoundError(f"run '{name}' not found in '{owner.path}'")
    return found


@RESOLVERS.field("Project.run", "Project.bucket")
def _run(project: Project, context: Context, name: str) -> Run | None:
    return context.store.runs.find(project_id=project.id, name=name)


@RESOLVERS.field("Project.runs")
def _runs(
    project: Project,
    context: Context,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> Connection:
    return page(_select_runs(project, context, filters, order), first, after)


@RESOLVERS.field("Project.runCount")
def _run_count(project: Project, context: Context, filters: str | None = None) -> int:
    return len(_select_runs(project, context, filters))


@RESOLVERS.field("Run.project")
def _project(run: Run, context: Context) -> Project:
    return context.store.projects.get(run.project_id)


@RESOLVERS.field("Run.group")
def _group(run: Run, _: Context) -> str | None:
    return run.group_name


@RESOLVERS.field("Run.commit")
def _commit(run: Run, _: Context) -> str | None:
    return run.commit_hash


@RESOLVERS.field("Run.tags")
def _tags(run: Run, _: Context) -> list[str]:
    return list(json.loads(run.tags))


@RESOLVERS.field("Run.summaryMetrics")
def _summary(run: Run, _: Context) -> str:
    return run.summary


@RESOLVERS.field("Run.wandbConfig")
def _wandb_config(run: Run, _: Context, keys: list[str] | None = None) -> str:
    own = json.loads(run.config).get("_wandb", {}).get("value", {})
    return json.dumps({key: own[key] for key in own if keys is None or key in keys})


@RESOLVERS.field("Run.fileCount")
def _file_count(run: Run, context: Context) -> int:
    return len(_uploaded(run, context))


@RESOLVERS.field("Run.files")
def _files(
    run: Run,
    context: Context,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
    pattern: str | None = None,
) -> Connection:
    files = [
        file
        for file in _uploaded(run, context)
        if (not names or file.name in names)
        and (not pattern or fnmatch.fnmatchcase(file.name, pattern.replace("%", "*")))
    ]
    return page(files, first, after)


@RESOLVERS.field("Run.inputArtifacts")
def _input_artifacts(
    run: Run, context: Context, after: str | None = None, first: int | None = None
) -> Connection:
    return page(inputs_of(context.store, run), first, after)


@RESOLVERS.field("Run.outputArtifacts")
def _output_artifacts(
    run: Run, context: Context, after: str | None = None, first: int | None = None
) -> Connection:
    return page(outputs_of(context.store, run), first, after)


@RESOLVERS.field("Mutation.upsertBucket")
def _upsert_bucket(
    context: Context,
    id: str | None = None,  # noqa: A002 - the schema's name
    name: str | None = None,
    entity_name: str | None = None,
    model_name: str | None = None,
    display_name: str | None = None,
    description: str | None = None,
    notes: str | None = None,
    group_name: str | None = None,
    job_type: str | None = None,
    config: str | None = None,
    summary_metrics: str | None = None,
    tags: list[str] | None = None,
    commit: str | None = None,
    host: str | None = None,
) -> UpsertBucketPayload:
    run, inserted = _ensure_run(context, id, name, entity_name, model_name)
    changed = context.store.runs.change(
        run.id,
        display_name=display_name,
        description=description,
        notes=notes,
        group_name=group_name,
        job_type=job_type,
        config=config,
        summary=summary_metrics,
        tags=None if tags is None else json.dumps(tags),
        commit_hash=commit,
        host=host,
    )
    return UpsertBucketPayload(changed, inserted)


@RESOLVERS.field("Mutation.createRunFiles")
def _create_files(
    context: Context, entity_name: str, project_name: str, run_name: str, files: list[str]
) -> RunFilesPayload:
    run = require_run(context, entity_name, project_name, run_name)
    return RunFilesPayload(run, [_ensure_file(context, run, name) for name in files])


@RESOLVERS.field("CreateRunFilesPayload.runID")
def _run_id(payload: RunFilesPayload, _: Context) -> str:
    return global_id(payload.run)


def _select_runs(
    project: Project, context: Context, filters: str | None, order: str | None = None
) -> list[Run]:
    every = context.store.runs.where(project_id=project.id)
    return select(every, run_document, filters, order)


def _uploaded(run: Run, context: Context) -> list[File]:
    rows = [row for row in context.store.run_files.where(run_id=run.id) if row.md5]
    return [file_of_run(context, row) for row in sorted(rows, key=lambda row: row.name)]


def _ensure_file(context: Context, run: Run, name: str) -> File:
    found = context.store.run_files.find(run_id=run.id, name=name)
    row = found or context.store.run_files.add(run_id=run.id, name=name, updated_at=now())
    return file_of_run(context, row)


def _ensure_run(
    context: Context,
    run_id: str | None,
    name: str | None,
    entity_name: str | None,
    project_name: str | None,
) -> tuple[Run, bool]:
    if run_id:
        return context.store.runs.get(row_id(Run, run_id)), False
    if not name:
        raise RequestError("upsertBucket needs the id or the name of a run")
    entity = require_entity(context, entity_name)
    project, _ = ensure_project(context.store, entity.name, project_name or NO_PROJECT)
    found = context.store.runs.find(project_id=project.id, name=name)
    return (found, False) if found else (_new_run(context.store, project, name), True)


def _new_run(store: Store, project: Project, name: str) -> Run:
    time = now()
    number = len(store.runs.where(project_id=project.id)) + 1
    return store.runs.add(
        project_id=project.id,
        name=name,
        display_name=f"run-{number}",
        created_at=time,
        heartbeat_at=time,
    )
