"""Where a weighing is recorded: a run in W&B, and traces in Weave."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import requests
import wandb
import weave
from gql.transport.exceptions import TransportError
from weave.trace.context.weave_client_context import set_weave_client_global
from weave.trace.settings import replace_settings
from weave.trace.weave_client import WeaveClient
from weave.trace.weave_init import init_weave

from application.tracing import lighten
from registry.calls import wandb_api, wandb_call
from schemas.gates import Gate
from schemas.settings import Settings
from schemas.upstream_errors import translate_error
from schemas.verdicts import Evidence
from schemas.weighings import WeighingRecord

_RETRIES, _RETRY_WAIT = 5, 10  # retries of one call; most seconds between two of them
# Uploads run in the background and delay nothing. If they gave up early, the run would end as if
# everything had arrived; so the end of the run has the limit.
_UPLOAD_RETRIES = 1000
_FINISHED_WITHIN = 120.0  # seconds
_JOB_TYPE = "model_evaluation"


# weave.init makes a client each time that it gets a project with its entity, and nothing ends a
# client's threads (weave 0.54, `init_weave`). A worker runs for months.
_clients: dict[str, WeaveClient] = {}


class Recording(NamedTuple):
    """Where one attempt at a weighing is recorded.

    Attributes:
        client: Weave client of the project that the traces go to.
        run: The attempt's run in W&B.
        api: W&B's API.
    """

    client: WeaveClient
    run: wandb.Run
    api: wandb.Api


@contextmanager
def open_recording(
    record: WeighingRecord, settings: Settings, *, resume: Evidence | None = None
) -> Iterator[Recording]:
    """Open the run of one attempt, with the clients of W&B and Weave.

    Args:
        resume: Continue the run that this evidence comes from; None begins a new one.

    Yields:
        The recording; its run ends as failed when the block raises.

    Raises:
        ConfigurationError: The key is refused, or it may not write to the project.
        PlatformError: W&B or Weave does not answer.
    """
    client = weave_client(record.gate)
    api = wandb_api(settings.wandb_timeout)
    with evaluation_run(record, settings, resume=resume) as run:
        yield Recording(client, run, api)


def weave_client(gate: Gate) -> WeaveClient:
    """The client of the project that holds the gate's RagModel, one per process and project.

    Weave does not trace the OpenAI client by itself: the ChatModel's own call carries the tokens,
    and two calls would count them twice.

    Raises:
        ConfigurationError: The key is refused, or there is no such entity.
        PlatformError: The trace server does not answer.
    """
    project = gate.rag_model.project_path
    options = {
        "print_call_link": False,
        "implicitly_patch_integrations": False,
        "allow_unsafe_custom_obj_decode": gate.allow_stored_code,
    }
    # weave.init would first wait for the calls of the client before, of which some may never end.
    set_weave_client_global(None)
    if known := _clients.get(project):
        replace_settings(options)
        set_weave_client_global(known)
        return known
    try:
        client = weave.init(project, settings=options)
    except (RuntimeError, TransportError, requests.RequestException) as error:
        raise translate_error(f"open project {project} in Weave", error) from error
    lighten(client)
    _clients[project] = client
    return client


def reading_client(project: str) -> WeaveClient:
    """Make the client that only reads: it creates no project, and it runs no stored code.

    Args:
        project: ``entity/project``, which need not exist.

    Raises:
        ConfigurationError: The key is refused.
        PlatformError: The trace server does not answer.
    """
    set_weave_client_global(None)
    replace_settings(
        {"implicitly_patch_integrations": False, "allow_unsafe_custom_obj_decode": False}
    )
    try:
        # weave.init would create the project.
        client = init_weave(project, ensure_project_exists=False)
    except (RuntimeError, TransportError, requests.RequestException) as error:
        raise translate_error("open Weave", error) from error
    lighten(client)
    _clients[f"{project} (to read)"] = client
    return client


def _run_settings(settings: Settings) -> wandb.Settings:
    """Settings under which no call hangs: by default the SDK retries for days.

    If W&B is away, a call fails within a minute or two and the weighing is tried again later.
    Source: docs/upstream/wandb-protocol.md, "Timeouts and retries".
    """
    return wandb.Settings(
        console="off",
        silent=True,
        reinit="create_new",  # not the global run: application/evaluate.py says why
        init_timeout=settings.wandb_timeout,
        finish_timeout=_FINISHED_WITHIN,
        finish_timeout_raises=True,
        x_graphql_timeout_seconds=settings.wandb_timeout,
        x_graphql_retry_max=_RETRIES,
        x_graphql_retry_wait_max_seconds=_RETRY_WAIT,
        x_file_transfer_retry_max=_UPLOAD_RETRIES,
        x_file_transfer_retry_wait_max_seconds=_RETRY_WAIT,
        x_file_stream_timeout_seconds=settings.wandb_timeout,
        x_file_stream_retry_max=_UPLOAD_RETRIES,
        x_file_stream_retry_wait_max_seconds=_RETRY_WAIT,
    )


@contextmanager
def evaluation_run(
    record: WeighingRecord, settings: Settings, *, resume: Evidence | None = None
) -> Iterator[wandb.Run]:
    """The W&B run of one attempt, in the project that holds the gate's RagModel.

    Args:
        resume: Continue the run that this evidence comes from; None begins a new one.

    Yields:
        A run that ends as failed when the block raises.

    Raises:
        ConfigurationError: The key is refused, or it may not write to the project.
        PlatformError: W&B does not answer.
    """
    gate, version = record.gate, record.id.version
    # Otherwise the SDK replaces our Weave client by one with other settings, whose calls nothing
    # flushes.
    os.environ["WANDB_DISABLE_WEAVE"] = "true"
    folder = settings.run_dir / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    with wandb_call("start a run"):
        run = wandb.init(
            entity=gate.rag_model.entity,
            project=gate.rag_model.project,
            job_type=_JOB_TYPE,
            id=resume.run_url.rpartition("/")[2] if resume else None,
            resume="must" if resume else None,
            name=f"{gate.name} {version.collection}:{version.version}",
            dir=str(folder),
            config={
                "gate": gate.name,
                "gate_digest": gate.digest,
                # Without the scheme: the SDK looks up such a string as an artifact.
                "chat_model": str(version),
                "rag_model": gate.rag_model.uri,
                "evaluation": gate.evaluation.uri,
            },
            settings=_run_settings(settings),
        )
    try:
        yield run
    except BaseException:
        with suppress(Exception):  # the error that is raised already says more
            run.finish(exit_code=1)
        raise
    with wandb_call(f"finish run {run.path}"):
        run.finish()


def record_template(run: wandb.Run, digest: str | None) -> None:
    """Record which chat template the version is served with: a template is a program.

    Args:
        run: The weighing's run.
        digest: SHA-256 of the Jinja template, in hexadecimal; None for the engine's own.
    """
    run.config.update({"chat_template_digest": digest})  # type: ignore[no-untyped-call]
