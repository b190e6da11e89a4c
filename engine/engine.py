"""The engine's interface to the pipeline: it serves the version in a folder."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex

from engine.artifact import named_in_errors
from engine.client import ServedModel
from engine.command import SERVED_MODEL, environment
from engine.file_lock import locked
from engine.loading import (
    exchange,
    load_into_transformers,
    load_lora,
    take_fingerprint,
    unload_lora,
)
from engine.options import FetchBase, OnProgress, ServeOptions, ignore_progress
from engine.plan import Plan
from engine.server import EngineServer, log_file
from engine.serving_method import ServingMethod
from engine.version import Version
from schemas.errors import PlatformError
from schemas.settings import Settings


class Engine:
    """Serves model versions from one engine process.

    Args:
        settings: The operator's choices. Processes with the same ``run_dir`` share one engine;
            two workers on two GPUs need a ``run_dir`` each.
        owner_pid: The process whose end also ends the engine; by default this process. A Celery
            child passes its worker's main process, which outlives it.
    """

    def __init__(self, settings: Settings, *, owner_pid: int | None = None) -> None:
        self._settings = settings
        self._run_dir = settings.run_dir / "engine"
        self._owner_pid = owner_pid or os.getpid()
        self._locks = 0

    def ensure(self, folder: Path, on_progress: OnProgress = ignore_progress) -> None:
        """Start an engine that can load a version, without loading it.

        Args:
            folder: The version's folder, or its base model's.
            on_progress: Receives the progress of the start.

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
        """Load a version and keep other processes from exchanging it until the block ends.

        A version that is already loaded is not loaded again. An exchange takes seconds. The engine
        is started only if no running engine can load the version, which takes a minute or more.

        Args:
            folder: Folder of the downloaded version.
            name: The version's name in traces.
            on_progress: Receives the progress of the start and of the exchange.
            options: The options of the gate and the ChatModel.
            fetch_base: Downloads a base model that is an artifact.

        Yields:
            The served model.

        Raises:
            ArtifactError: The version is refused.
            ConfigurationError: This machine cannot do what the gate requires.
            PlatformError: The engine did not start, or it died before the block ended, so the
                measurements in the block are incomplete.
        """
        with named_in_errors(folder, name):
            version = Version.open(
                folder,
                self._settings,
                trust_remote_code=options.trust_remote_code,
                fetch_base=fetch_base,
                on_progress=on_progress,
            )
            plan = Plan.make(version, options, self._settings)
        is_lora = plan.method is ServingMethod.LORA
        serve = self._serve_concurrently if is_lora else self._serve_exclusively
        with serve(plan, name, on_progress) as model:
            yield model

    def stop(self) -> None:
        """End the engine if it was started for this owner."""
        server = EngineServer.find(self._run_dir)
        if server and server.record.owner_pid == self._owner_pid:
            server.stop()

    @contextmanager
    def _serve_exclusively(
        self, plan: Plan, name: str, on_progress: OnProgress
    ) -> Iterator[ServedModel]:
        """Serve a version that replaces the engine's weights."""
        with self._locked(on_progress):
            server = self._server_for(plan, on_progress)
            if server.record.loaded != plan.loaded:
                _load(server, plan, on_progress)
            with _served(server, plan, name, SERVED_MODEL) as model:
                yield model

    @contextmanager
    def _serve_concurrently(
        self, plan: Plan, name: str, on_progress: OnProgress
    ) -> Iterator[ServedModel]:
        """Serve an adapter as LoRA, side by side with other adapters of its base."""
        # Unique, so that unloading it does not take it from another weighing of the same adapter.
        lora = f"{SERVED_MODEL}-{plan.version.digest[:12]}-{token_hex(4)}"
        while True:
            with self._locked(on_progress, shared=True):
                server = self._matching_server(plan)
                if server and server.record.loaded == plan.version.base_digest:
                    load_lora(server, plan.version, lora)
                    try:
                        with _served(server, plan, name, lora) as model:
                            yield model
                    finally:
                        unload_lora(server, lora)
                    return
            # Another process may exchange the weights between the two locks, hence the loop.
            with self._locked(on_progress):
                server = self._server_for(plan, on_progress)
                if server.record.loaded != plan.version.base_digest:
                    exchange(server, plan.version, plan.version.base_digest, adapter=False)

    @contextmanager
    def _locked(self, on_progress: OnProgress, *, shared: bool = False) -> Iterator[None]:
        """Lock the engine: exclusively to exchange its weights, shared to keep them.

        Raises:
            PlatformError: This process holds a lock and would wait for itself.
        """
        if self._locks and not shared:
            raise PlatformError(
                "This process still uses the engine and would wait for itself.",
                fix=f"Check why it does not answer: its log is {log_file(self._run_dir)}.",
            )
        waiting = "waiting for another process to finish with the engine"
        with ExitStack() as held:
            # Without this lock, overlapping shared locks could starve a process that waits for an
            # exclusive one. The file's name stays: processes of an older release may lock it.
            with locked(self._run_dir / "engine.turn", on_progress=on_progress, waiting=waiting):
                lock = self._run_dir / "engine.lock"
                held.enter_context(
                    locked(lock, shared=shared, on_progress=on_progress, waiting=waiting)
                )
            self._locks += 1
            try:
                yield
            finally:
                self._locks -= 1

    def _matching_server(self, plan: Plan) -> EngineServer | None:
        """The running engine, if it is healthy and can load the plan's version."""
        server = EngineServer.find(self._run_dir)
        fits = server and server.record.identity == plan.identity and server.is_healthy()
        return server if fits else None

    def _server_for(self, plan: Plan, on_progress: OnProgress) -> EngineServer:
        """The running engine if it can load the version, otherwise a new one."""
        if server := self._matching_server(plan):
            return server
        if other := EngineServer.find(self._run_dir):
            on_progress("ending the engine, which cannot load the next version")
            other.stop()
        on_progress(f"starting the engine on {plan.version.base.folder}")
        server = EngineServer.start(
            self._run_dir,
            command=plan.command,
            environment=environment(self._settings),
            identity=plan.identity,
            started_on=plan.version.base.folder,
            loaded=None if plan.method is ServingMethod.TRANSFORMERS else plan.version.base_digest,
            owner_pid=self._owner_pid,
        )
        server.wait_until_healthy(self._settings.engine_start_budget, on_progress)
        if plan.method is not ServingMethod.TRANSFORMERS:
            take_fingerprint(server)
        return server


def _load(server: EngineServer, plan: Plan, on_progress: OnProgress) -> None:
    on_progress("loading the version")
    if plan.method is ServingMethod.TRANSFORMERS:
        load_into_transformers(server, plan)
    else:
        exchange(server, plan.version, plan.version.digest)


@contextmanager
def _served(server: EngineServer, plan: Plan, name: str, model: str) -> Iterator[ServedModel]:
    """The served model; if the engine dies, its death is the error that is raised."""
    died = f"died while it served {name}"
    served = ServedModel.local(
        name,
        socket=server.record.socket,
        model=model,
        chat_template=plan.version.chat_template,
        failure=server.failure,
        max_concurrency=1 if plan.method is ServingMethod.TRANSFORMERS else None,
        logprobs=plan.method is not ServingMethod.TRANSFORMERS,
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
