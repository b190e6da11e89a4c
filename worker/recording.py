"""Where a weighing is recorded: a run in W&B, and a client of the project's traces in Weave."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
import wandb
import weave
from weave.trace.weave_client import WeaveClient

from registry.calls import wandb_call
from schemas.errors import PlatformError
from schemas.gates import Gate
from schemas.refs import WeaveRef
from schemas.settings import Settings
from schemas.weighings import Weighing

_JOB_TYPE = "model_evaluation"


def weave_client(gate: Gate) -> WeaveClient:
    """A client of the project that holds the gate's RagModel.

    The OpenAI client is not traced by itself: the ChatModel's own call carries the tokens, and
    two calls would count them twice.

    Raises:
        PlatformError: the trace server does not answer.
    """
    project = WeaveRef.parse(gate.rag_model).project_path
    try:
        return weave.init(
            project,
            settings={
                "print_call_link": False,
                "implicitly_patch_integrations": False,
                "allow_unsafe_custom_obj_decode": gate.allow_stored_code,
            },
        )
    except (RuntimeError, requests.RequestException) as error:
        raise PlatformError(f"Weave did not open project {project}: {error}.") from error


@contextmanager
def evaluation_run(weighing: Weighing, settings: Settings) -> Iterator[wandb.Run]:
    """The W&B run of one attempt, in the project that holds the gate's RagModel.

    Yields:
        A run that ends as failed when the body raises.

    Raises:
        ConfigurationError: the key is refused, or the project is not ours.
        PlatformError: W&B does not answer.
    """
    gate, application = weighing.gate, WeaveRef.parse(weighing.gate.rag_model)
    folder = settings.run_dir / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    with wandb_call("start a run"):
        run = wandb.init(
            entity=application.entity,
            project=application.project,
            job_type=_JOB_TYPE,
            name=f"{gate.name} {weighing.id.version.collection}:v{weighing.id.number}",
            dir=str(folder),
            config={
                "gate": gate.name,
                "gate_digest": gate.digest,
                # Without its scheme: the SDK takes such a string for an artifact to look up.
                "chat_model": str(weighing.id.version),
                "rag_model": gate.rag_model,
                "evaluation": gate.evaluation,
            },
            settings=wandb.Settings(
                console="off", silent=True, init_timeout=settings.wandb_timeout
            ),
        )
    with run:
        yield run
