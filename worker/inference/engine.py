"""The engine as the pipeline sees it: give it a version's folder, get a model that answers."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ArtifactError
from schemas.settings import Settings
from worker.inference import checkpoint, command
from worker.inference.artifact import Adapter
from worker.inference.client import ServedModel
from worker.inference.merge import merge
from worker.inference.server import EngineServer
from worker.inference.version import Version

Tell = Callable[[str], None]
"""Gets a line whenever there is something to tell about a long step."""

# What an engine cannot change while it runs. Other settings say where things are, or how long
# they may take.
_OF_THE_ENGINE = {"max_model_len", "kv_cache_gib", "gpu_memory_utilization"}


def _silence(_line: str) -> None:
    """Tell nobody."""


class Engine:
    """Serves model versions, one at a time, from one engine process.

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

    def ensure(self, folder: Path, tell: Tell = _silence) -> None:
        """Have an engine that a version can be loaded into, and do not load it yet.

        Args:
            folder: The version's folder, or its base model's.

        Raises:
            ArtifactError: The version is refused.
            PlatformError: The engine does not start.
        """
        with self._alone(tell):
            self._server_for(Version.open(folder, self._settings.models_dir), tell)

    @contextmanager
    def serve(self, folder: Path, name: str, tell: Tell = _silence) -> Iterator[ServedModel]:
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
        with self._alone(tell):
            with _named_version(folder, name):
                version = Version.open(folder, self._settings.models_dir)
            template = version.chat_template
            server = self._server_for(version, tell)
            self._load(version, server, tell)
            model = ServedModel(
                name, socket=server.record.socket, chat_template=template, failure=server.failure
            )
            with _named_death(server, name):
                yield model

    def stop(self) -> None:
        """End the engine, if it was started for this owner."""
        server = EngineServer.find(self._run_dir)
        if server and server.record.owner_pid == self._owner_pid:
            server.stop()

    def _server_for(self, version: Version, tell: Tell) -> EngineServer:
        """The running engine if it fits the version, else a new one."""
        identity = self._identity(version)
        server = EngineServer.find(self._run_dir)
        if server and server.record.identity == identity and server.is_healthy():
            return server
        if server:
            tell("ending the engine, which does not fit the next version")
            server.stop()
        tell(f"starting the engine on {version.base.folder}")
        server = EngineServer.start(
            self._run_dir,
            command=command.arguments(self._settings, version.base.folder, version.tokenizer),
            environment=command.environment(self._settings),
            identity=identity,
            loaded=None if version.adapter else version.digest,
            owner_pid=self._owner_pid,
        )
        server.wait_until_healthy(self._settings.engine_start_budget, tell)
        return server

    def _identity(self, version: Version) -> str:
        model = checkpoint.identity(version.base.folder, version.tokenizer)
        settings = self._settings.model_dump_json(include=_OF_THE_ENGINE)
        return hashlib.sha256(f"{model} {settings}".encode()).hexdigest()

    def _load(self, version: Version, server: EngineServer, tell: Tell) -> None:
        if server.record.loaded == version.digest:
            return
        if version.adapter is None:
            server.swap(version.folder, version.digest)
        else:
            tell("merging the adapter into its base")
            self._merge_and_swap(version.adapter, version, server)

    def _merge_and_swap(self, adapter: Adapter, version: Version, server: EngineServer) -> None:
        merged = self._run_dir / "merged"
        shutil.rmtree(merged, ignore_errors=True)  # of a process that was killed
        try:
            server.swap(merge(adapter, version.base, merged).folder, version.digest)
        finally:
            shutil.rmtree(merged, ignore_errors=True)

    @contextmanager
    def _alone(self, tell: Tell) -> Iterator[None]:
        self._run_dir.mkdir(parents=True, exist_ok=True)
        with (self._run_dir / "engine.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell("waiting for another process to finish with the engine")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@contextmanager
def _named_version(folder: Path, name: str) -> Iterator[None]:
    """Say what a refused version is called, not where its files lie on this machine."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(error.message.replace(str(folder), name), fix=error.fix) from error


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
