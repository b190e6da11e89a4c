"""The model server: one warm engine, and model versions exchanged inside it.

Starting an engine costs a minute or more, exchanging its weights a second. So a worker owns one
vLLM server process, starts it when the first version arrives and keeps it for all that follow:

    engine = Engine(settings, owner_pid=celery_main_pid)
    with engine.serve(folder_of_the_download, "wandb32/.../Finetuned SmolLM2:v3") as model:
        answer = await model.chat([{"role": "user", "content": "..."}], ...)
    engine.stop()

What happens inside, module by module:

1. ``artifact`` says what was downloaded, an adapter or a checkpoint, and refuses the rest;
   ``base_model`` finds what an adapter was trained on, also on the ``hub``; ``unpack`` brings a
   4-bit base back to full, and a ``version`` is all of it together.
2. ``choice`` is how it will be served, and ``plan`` what that takes: a ``command`` line, and the
   identity of an engine that can take the version in. If such an engine runs, it is used,
   whichever process started it; else ``server`` starts one, below ``guard``, which ends it when
   its owner is gone. ``log`` reads the engine's log: progress while it starts, the reason when it
   fails.
3. ``loading`` gets the version in: streamed into vLLM by its ``engine_extension``, an adapter
   merged on the way (``merge``); beside others as LoRA; or by ``transformers_server``, where vLLM
   cannot. Then it makes sure that this version is the one that answers.
4. ``client`` asks the engine in the OpenAI protocol over ``connections``, with the version's own
   chat template; ``control`` asks its own endpoints.

``Engine.serve`` holds a ``lock`` until its block is left: no process can put another version under
an evaluation that runs. ``external`` serves the same way from a ``shared_server``, which somebody
else runs.
"""

from engine.client import ServedModel
from engine.engine import Engine
from engine.external import ExternalEngine
from engine.options import ServeOptions
from schemas.settings import Settings

__all__ = ["Engine", "ExternalEngine", "ServeOptions", "ServedModel", "engine_of"]


def engine_of(settings: Settings, owner_pid: int | None = None) -> Engine | ExternalEngine:
    """The engine that the settings ask for: somebody else's, or this worker's own.

    Args:
        settings: The operator's choices.
        owner_pid: The process that an own engine ends with; this one by default.
    """
    return (
        ExternalEngine(settings) if settings.engine_url else Engine(settings, owner_pid=owner_pid)
    )
