"""The engine as the pipeline sees it: give it a version's folder, get a model that answers."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex

from engine.artifact import called_by_name
from engine.choice import ServingMethod
from engine.client import ServedModel
from engine.command import SERVED_MODEL, environment
from engine.file_lock import locked
from engine.loading import (
    exchange,
    load_beside,
    load_into_transformers,
    take_fingerprint,
    unload_beside,
)
from engine.options import FetchBase, OnProgress, ServeOptions, ignore_progress
from engine.plan import Plan
from engine.server import EngineServer, log_file
from engine.version import Version
from schemas.errors import PlatformError
from schemas.settings import Settings


class Engine:
    """Serves model versions from one engine process.

    Args:
        settings: The operator's choices. Processes with the same ``run_dir`` share one engine;
            two workers on two GPUs need two.
        owner_pid: The process that the engine ends with; this one by default. A Celery child
            passes its worker's main process, which outlives it.
    """

    def __init__(self, settings: Settings, *, owner_pid: int | None = None) -> None:
        self._settings = settings
        self._run_dir = settings.run_dir / "engine"
        self._owner_pid = owner_pid or os.getpid()
        self._holds = 0

    def ensure(self, folder: Path, on_progress: OnProgress = ignore_progress) -> None:
        """Have an engine that a version can be loaded into, and do not load it yet.

        Args:
            folder: The version's folder, or its base model's.
            on_progress: Hears how the start goes.

        Raises:
            ArtifactError: The version is refused.
            PlatformError: The engine does not start.
        """
        plan = Plan.make(Version.open(folder, self._settings), ServeOptions(), self._settings)
        with self._locked(on_progress):
            self._server_for(plan, on_progress)

    @contextmanager
    def serve(
        self,
        folder: Path,
        name: str,
        on_progress: OnProgress = ignore_progress,
        *,
        options: ServeOptions = ServeOptions(),  # noqa: B008 (frozen)
        fetch_base: FetchBase | None = None,
    ) -> Iterator[ServedModel]:
        """Load a version and keep every other process from exchanging it.

        Nothing happens if the version is loaded already. An exchange costs seconds, a start of
        the engine a minute or more; it starts only if none runs that fits the version.

        Args:
            folder: Where the version was downloaded to.
            name: The version's name in traces.
            on_progress: Hears how it goes.
            options: What the gate and the ChatModel ask for.
            fetch_base: Downloads a base model that is an artifact.

        Yields:
            The model that answers.

        Raises:
            ArtifactError: The version is refused.
            ConfigurationError: The gate asks for what this machine cannot do.
            PlatformError: The engine does not start, or died before the block was left: what
                was measured inside is then incomplete.
        """
        with called_by_name(folder, name):
            version = Version.open(
                folder,
                self._settings,
                trust_remote_code=options.trust_remote_code,
                fetch_base=fetch_base,
                on_progress=on_progress,
            )
            plan = Plan.make(version, options, self._settings)
        serve = self._beside if plan.way is ServingMethod.LORA else self._alone
        with serve(plan, name, on_progress) as model:
            yield model

    def stop(self) -> None:
        """End the engine, if it was started for this owner."""
        server = EngineServer.find(self._run_dir)
        if server and server.record.owner_pid == self._owner_pid:
            server.stop()

    @contextmanager
    def _alone(self, plan: Plan, name: str, on_progress: OnProgress) -> Iterator[ServedModel]:
        """Serve a version by the engine's own weights."""
        with self._locked(on_progress):
            server = self._server_for(plan, on_progress)
            if server.record.loaded != plan.loaded:
                _load(server, plan, on_progress)
            with _served(server, plan, name, SERVED_MODEL) as model:
                yield model

    @contextmanager
    def _beside(self, plan: Plan, name: str, on_progress: OnProgress) -> Iterator[ServedModel]:
        """Serve an adapter beside others, on their base."""
        # A name of its own: another weighing of the same adapter must not lose it to our unloading.
        beside = f"{SERVED_MODEL}-{plan.version.digest[:12]}-{token_hex(4)}"
        while True:
            with self._locked(on_progress, shared=True):
                server = self._fitting(plan)
                if server and server.record.loaded == plan.version.base_digest:
                    load_beside(server, plan.version, beside)
                    try:
                        with _served(server, plan, name, beside) as model:
                            yield model
                    finally:
                        unload_beside(server, beside)
                    return
            with self._locked(on_progress):  # another process may come in between, hence the loop
                server = self._server_for(plan, on_progress)
                if server.record.loaded != plan.version.base_digest:
                    exchange(server, plan.version, plan.version.base_digest, adapter=False)

    @contextmanager
    def _locked(self, on_progress: OnProgress, *, shared: bool = False) -> Iterator[None]:
        """Have the engine alone, to exchange its weights, or together, to keep them.

        Raises:
            PlatformError: This process would wait for itself.
        """
        if self._holds and not shared:
            raise PlatformError(
                "The engine is still in use by this very process, which would wait for itself.",
                fix=f"Look why it does not answer: its log is {log_file(self._run_dir)}.",
            )
        waiting = "waiting for another process to finish with the engine"
        with ExitStack() as held:
            # Whoever waits alone is not overtaken for ever by those who share.
            with locked(self._run_dir / "engine.turn", on_progress=on_progress, waiting=waiting):
                lock = self._run_dir / "engine.lock"
                held.enter_context(
                    locked(lock, shared=shared, on_progress=on_progress, waiting=waiting)
                )
            self._holds += 1
            try:
                yield
            finally:
                self._holds -= 1

    def _fitting(self, plan: Plan) -> EngineServer | None:
        """The running engine, if the plan's version can be loaded into it."""
        server = EngineServer.find(self._run_dir)
        fits = server and server.record.identity == plan.identity and server.is_healthy()
        return server if fits else None

    def _server_for(self, plan: Plan, on_progress: OnProgress) -> EngineServer:
        """The running engine if it fits, else a new one."""
        if server := self._fitting(plan):
            return server
        if other := EngineServer.find(self._run_dir):
            on_progress("ending the engine, which does not fit the next version")
            other.stop()
        on_progress(f"starting the engine on {plan.version.base.folder}")
        server = EngineServer.start(
            self._run_dir,
            command=plan.command,
            environment=environment(self._settings),
            identity=plan.identity,
            started_on=plan.version.base.folder,
            loaded=None if plan.way is ServingMethod.TRANSFORMERS else plan.version.base_digest,
            owner_pid=self._owner_pid,
        )
        server.wait_until_healthy(self._settings.engine_start_budget, on_progress)
        if plan.way is not ServingMethod.TRANSFORMERS:
            take_fingerprint(server)
        return server


def _load(server: EngineServer, plan: Plan, on_progress: OnProgress) -> None:
    on_progress("loading the version")
    if plan.way is ServingMethod.TRANSFORMERS:
        load_into_transformers(server, plan)
    else:
        exchange(server, plan.version, plan.version.digest)


@contextmanager
def _served(server: EngineServer, plan: Plan, name: str, model: str) -> Iterator[ServedModel]:
    """The model that answers; makes the engine's death the reason of all that went wrong."""
    died = f"died while it served {name}"
    served = ServedModel.local(
        name,
        socket=server.record.socket,
        model=model,
        chat_template=plan.version.chat_template,
        failure=server.failure,
        at_once=1 if plan.way is ServingMethod.TRANSFORMERS else None,
        logprobs=plan.way is not ServingMethod.TRANSFORMERS,
    )
    try:
        with served.fail_on_request_errors():
            yield served
    except Exception as error:
        if server.is_healthy():
            raise
        raise server.failure(died) from error
    if not server.is_healthy():
        raise server.failure(died)
