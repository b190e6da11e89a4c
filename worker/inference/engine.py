"""The engine as the pipeline sees it: give it a version's folder, get a model that answers."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.inference import checkpoint, command
from worker.inference.artifact import Adapter
from worker.inference.client import ServedModel
from worker.inference.merge import merge
from worker.inference.server import EngineServer
from worker.inference.settings import EngineSettings
from worker.inference.version import Version

# Settings that say where things are or how long they may take, not what the engine is.
_NOT_THE_ENGINE = {"run_dir", "models_dir", "start_budget_s"}


class Engine:
    """Serves model versions, one at a time, from one engine process.

    Args:
        settings: The operator's choices.
        owner_pid: The process that the engine ends with; this one by default. A Celery child
            passes its worker's main process, which outlives it.
        on_progress: Gets a line whenever there is something to tell about a long step.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        owner_pid: int | None = None,
        on_progress: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._settings = settings
        self._owner_pid = owner_pid or os.getpid()
        self._on_progress = on_progress

    def ensure(self, folder: Path) -> None:
        """Have an engine that a version can be loaded into, and do not load it yet.

        Args:
            folder: The version's folder, or its base model's.

        Raises:
            ArtifactError: The version is refused.
            PlatformError: The engine does not start.
        """
        with self._alone():
            self._server_for(Version.open(folder, self._settings.models_dir))

    @contextmanager
    def serve(self, folder: Path, name: str) -> Iterator[ServedModel]:
        """Load a version and keep every other process from exchanging it.

        Nothing happens if the version is loaded already. A merge and a swap cost seconds, a start
        of the engine a minute or more; it starts only if none runs that fits the version.

        Args:
            folder: Where the version was downloaded to.
            name: The version's name in traces.

        Yields:
            The model that answers.

        Raises:
            ArtifactError: The version is refused.
            PlatformError: The engine does not start, or died before the block was left: what
                was measured inside is then incomplete.
        """
        with self._alone():
            version = Version.open(folder, self._settings.models_dir)
            server = self._server_for(version)
            self._load(version, server)
            model = ServedModel(
                name,
                socket=server.record.socket,
                chat_template=version.chat_template,
                failure=server.failure,
            )
            with _named_death(server, name):
                yield model

    def stop(self) -> None:
        """End the engine, if it was started for this owner."""
        server = EngineServer.find(self._settings.run_dir)
        if server and server.record.owner_pid == self._owner_pid:
            server.stop()

    def _server_for(self, version: Version) -> EngineServer:
        """The running engine if it fits the version, else a new one."""
        run_dir = self._settings.run_dir
        identity = self._identity(version)
        server = EngineServer.find(run_dir)
        if server and server.record.identity == identity and server.is_healthy():
            return server
        if server:
            self._on_progress("ending the engine, which does not fit the next version")
            server.stop()
        self._on_progress(f"starting the engine on {version.base.folder}")
        server = EngineServer.start(
            run_dir,
            command=command.arguments(self._settings, version.base.folder, version.tokenizer),
            environment=command.environment(self._settings),
            identity=identity,
            loaded=None if version.adapter else version.digest,
            owner_pid=self._owner_pid,
        )
        server.wait_until_healthy(self._settings.start_budget_s, self._on_progress)
        return server

    def _identity(self, version: Version) -> str:
        model = checkpoint.identity(version.base.folder, version.tokenizer)
        settings = self._settings.model_dump_json(exclude=_NOT_THE_ENGINE)
        return hashlib.sha256(f"{model} {settings}".encode()).hexdigest()

    def _load(self, version: Version, server: EngineServer) -> None:
        if server.record.loaded == version.digest:
            return
        if version.adapter is None:
            server.swap(version.folder, version.digest)
        else:
            self._merge_and_swap(version.adapter, version, server)

    def _merge_and_swap(self, adapter: Adapter, version: Version, server: EngineServer) -> None:
        merged = self._settings.run_dir / "merged"
        shutil.rmtree(merged, ignore_errors=True)  # of a process that was killed
        try:
            self._on_progress("merging the adapter into its base")
            server.swap(merge(adapter, version.base, merged).folder, version.digest)
        finally:
            shutil.rmtree(merged, ignore_errors=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        run_dir = self._settings.run_dir
        run_dir.mkdir(parents=True, exist_ok=True)
        with (run_dir / "engine.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._on_progress("waiting for another process to finish with the engine")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@contextmanager
def _named_death(server: EngineServer, name: str) -> Iterator[None]:
    """Make the engine's death the reason of whatever went wrong in the block, or seemed right."""
    try:
        yield
    except Exception as error:
        if server.is_healthy():
            raise
        raise server.failure(f"died while it served {name}") from error
    if not server.is_healthy():
        raise server.failure(f"died while it served {name}")
