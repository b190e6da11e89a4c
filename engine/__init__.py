"""The model server: one running engine, in which model versions are exchanged.

Starting an engine takes a minute or more, exchanging its weights about a second. A worker therefore
owns one vLLM server process. It starts the server when the first version arrives and keeps it for
all later versions:

    engine = Engine(settings, owner_pid=celery_main_pid)
    with engine.serve(folder_of_the_download, "wandb32/.../Finetuned SmolLM2:v3") as model:
        answer = await model.chat([{"role": "user", "content": "..."}], ...)
    engine.stop()

The modules, in the order in which a version passes through them:

1. ``artifact`` checks whether the download is an adapter or a checkpoint and refuses anything else.
   ``base_model`` finds the model that an adapter was trained on, and ``hub`` downloads it.
   ``unpack`` dequantizes a 4-bit base. A ``version`` holds all of it.
2. ``serving_method`` chooses how the version is served, and ``plan`` holds the ``command`` line and
   the identity of an engine that can load the version. If such an engine is running, it is used,
   whichever process started it. Otherwise ``server`` starts one under ``guard``, which ends it when
   its owner ends. Its sockets are in a ``private_folder``. ``engine_log`` reads its log: progress
   during the start, the cause after a failure.
3. ``loading`` loads the version: ``engine_extension`` streams it into vLLM and merges an adapter
   into its base (``merge``); or vLLM loads the adapter as LoRA; or ``transformers_server`` loads
   what vLLM cannot. Then it checks that the engine serves this version.
4. ``client`` sends requests in the OpenAI protocol over ``connections``, with the version's own
   chat template. ``control`` calls the engine's control endpoints.
5. ``gateway`` lets an application ask for the version with any OpenAI client. It runs
   ``gateway_app`` on a ``loopback_server``; a request goes to one of the ``gateway_targets`` by
   ``gateway_forwarding``, which rewrites a ``gateway_stream`` and counts ``gateway_usage``.
   ``gateway_errors`` are in OpenAI's format.

``Engine.serve`` holds a ``file_lock`` until its block ends, so no process can exchange the weights
during an evaluation. ``external_engine`` has the same interface for an ``external_server``, which
someone else runs.
"""

from engine.client import ServedModel
from engine.engine import Engine
from engine.external_engine import ExternalEngine
from engine.gateway import Gateway
from engine.options import ServeOptions
from schemas.settings import Settings

__all__ = ["Engine", "ExternalEngine", "Gateway", "ServeOptions", "ServedModel", "engine_of"]


def engine_of(settings: Settings, owner_pid: int | None = None) -> Engine | ExternalEngine:
    """The engine that the settings name: an external one, or one that this worker starts.

    Args:
        settings: The operator's choices.
        owner_pid: The process whose end also ends the worker's engine; by default this process.
    """
    return (
        ExternalEngine(settings) if settings.engine_url else Engine(settings, owner_pid=owner_pid)
    )
