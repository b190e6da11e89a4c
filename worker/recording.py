"""Where a weighing is recorded: a run in W&B, and a client of the project's traces in Weave."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import requests
import wandb
import weave
from gql.transport.exceptions import TransportError
from weave.trace.context.weave_client_context import set_weave_client_global
from weave.trace.settings import replace_settings
from weave.trace.weave_client import WeaveClient

from application.tracing import lighten
from registry.calls import wandb_call
from schemas.gates import Gate
from schemas.settings import Settings
from schemas.upstream_errors import translate_error
from schemas.verdicts import Evidence
from schemas.weighings import WeighingRecord

_RETRIES, _RETRY_WAIT = 5, 10  # of one call; seconds between two tries at most
# What is uploaded beside the work holds nobody up. If it gave up early, the run would end as if all
# had arrived; so its end is what is bounded.
_UPLOAD_RETRIES = 1000
_FINISHED_WITHIN = 120.0  # seconds
_JOB_TYPE = "model_evaluation"


# A client has threads that nothing ends, and weave.init makes a new one each time that it is given
# a project with its entity (weave 0.54, `init_weave`); a worker weighs for months.
_clients: dict[str, WeaveClient] = {}


def weave_client(gate: Gate) -> WeaveClient:
    """The client of the project that holds the gate's RagModel, one per process and project.

    The OpenAI client is not traced by itself: the ChatModel's own call carries the tokens, and
    two calls would count them twice.

    Raises:
        ConfigurationError: the key is refused, or there is no such entity.
        PlatformError: the trace server does not answer.
    """
    project = gate.rag_model.project_path
    options = {
        "print_call_link": False,
        "implicitly_patch_integrations": False,
        "allow_unsafe_custom_obj_decode": gate.allow_stored_code,
    }
    set_weave_client_global(None)  # it takes no other client's place
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


def _run_settings(settings: Settings) -> wandb.Settings:
    """Settings under which no call hangs: the SDK itself would retry for days.

    Source: docs/upstream/wandb-protocol.md, "Timeouts and retries". With these, a W&B that is away
    fails a call in a minute or two, and the weighing is tried again later.
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
    weighing: WeighingRecord, settings: Settings, *, of: Evidence | None = None
) -> Iterator[wandb.Run]:
    """The W&B run of one attempt, in the project that holds the gate's RagModel.

    Args:
        of: go on with the run that this evidence is from; None begins a new one.

    Yields:
        A run that ends as failed when the body raises.

    Raises:
        ConfigurationError: the key is refused, or the project is not ours.
        PlatformError: W&B does not answer.
    """
    gate = weighing.gate
    # Else the SDK would replace our client of Weave by one with other settings, whose calls
    # nobody flushes.
    os.environ["WANDB_DISABLE_WEAVE"] = "true"
    folder = settings.run_dir / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    with wandb_call("start a run"):
        run = wandb.init(
            entity=gate.rag_model.entity,
            project=gate.rag_model.project,
            job_type=_JOB_TYPE,
            id=of.run_url.rpartition("/")[2] if of else None,
            resume="must" if of else None,
            name=f"{gate.name} {weighing.id.version.collection}:v{weighing.id.number}",
            dir=str(folder),
            config={
                "gate": gate.name,
                "gate_digest": gate.digest,
                # Without its scheme: the SDK takes such a string for an artifact to look up.
                "chat_model": str(weighing.id.version),
                "rag_model": gate.rag_model.uri,
                "evaluation": gate.evaluation.uri,
            },
            settings=_run_settings(settings),
        )
    try:
        yield run
    except BaseException:
        with suppress(Exception):  # what was raised says more
            run.finish(exit_code=1)
        raise
    with wandb_call(f"finish run {run.path}"):
        run.finish()


def record_template(run: wandb.Run, digest: str | None) -> None:
    """Keep which chat template the version was asked with: a template is a program.

    Args:
        run: the weighing's run.
        digest: SHA-256 of the Jinja template, in hexadecimal; None for the engine's own.
    """
    run.config.update({"chat_template_digest": digest})  # type: ignore[no-untyped-call]
