"""The model server: one warm engine, and model versions exchanged inside it.

Starting an engine costs a minute or more, exchanging its weights a second. So a worker owns one
vLLM server process, starts it when the first version arrives and keeps it for all that follow:

    engine = Engine(settings, owner_pid=celery_main_pid)
    with engine.serve(folder_of_the_download, "wandb32/.../Finetuned SmolLM2:v3") as model:
        answer = await model.chat([{"role": "user", "content": "..."}], ...)
    engine.stop()

What happens inside, module by module:

1. ``artifact`` says what was downloaded, an adapter or a checkpoint, and refuses the rest;
   ``base_model`` finds what an adapter was trained on.
2. ``checkpoint.identity`` names all that a running engine cannot exchange (architecture, shapes,
   vocabulary). If an engine of that identity runs, it is used, whichever process started it;
   else ``server`` starts one with the ``command`` line of this machine, below ``guard``, which
   ends it when its owner is gone.
3. ``merge`` makes a checkpoint of an adapter, and ``server`` has the engine read it in place.
   The engine's record says which version is loaded, so a version is loaded once.
4. ``client`` asks the engine in the OpenAI protocol, with the version's own chat template;
   ``control`` asks its own endpoints.
5. ``log`` reads the engine's log: progress while it starts, the reason when it fails.

``Engine.serve`` holds a lock until its block is left: no process can put another version under
an evaluation that runs.
"""

from worker.inference.client import ServedModel
from worker.inference.engine import Engine

__all__ = ["Engine", "ServedModel"]
