"""Step 1: download the version through the run, so that W&B records the lineage."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import wandb

from engine.file_rules import ListedFile, refuse_unsafe
from engine.options import OnProgress
from registry.calls import wandb_call
from schemas.errors import PlatformError
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from worker.artifacts.transfer import fetch
from worker.artifacts.version_cache import VersionCache

_GIB = 2**30


@contextmanager
def downloaded(
    run: wandb.Run,
    ref: ArtifactRef,
    settings: Settings,
    on_progress: OnProgress,
    *,
    trust_remote_code: bool = False,
) -> Iterator[Path]:
    """Declare a version as an input of the run, and keep its files until the block exits.

    The version's file list is checked before anything is downloaded, and the files are verified
    afterwards. Contents that were downloaded before, under any name, are not downloaded again.

    Args:
        run: The evaluation's run.
        settings: The folder and size of the cache, and the size limit of a version.
        on_progress: Receives the download's progress.
        trust_remote_code: Whether to allow model code, ``*.py``.

    Yields:
        The folder with the files; its name is their digest.

    Raises:
        ConfigurationError: There is no such version.
        ArtifactError: A file is refused, or the version is too large; nothing was downloaded.
        PlatformError: W&B did not answer, or the download was interrupted; the next one resumes
            it.
    """
    with wandb_call(f"use version {ref}"):
        artifact = run.use_artifact(str(ref))
        files = _listed(artifact)
    refuse_unsafe(
        files,
        str(ref),
        max_bytes=round(settings.max_version_gib * _GIB),
        trust_remote_code=trust_remote_code,
    )
    cache = VersionCache(settings.cache_dir / "versions", round(settings.cache_gib * _GIB))

    def complete(folder: Path) -> None:
        with wandb_call(f"download version {ref}"):
            fetch(artifact, files, folder, on_progress)
            on_progress("verifying the files")
            _verify(artifact, folder)

    # The digest is computed here from the file list: a string from a server never becomes a path.
    with cache.use(artifact.manifest.digest(), files, complete, on_progress) as folder:
        yield folder


def _listed(artifact: wandb.Artifact) -> list[ListedFile]:
    return [
        ListedFile(path=path, size=entry.size or 0, reference=entry.ref)
        for path, entry in artifact.manifest.entries.items()
    ]


def _verify(artifact: wandb.Artifact, folder: Path) -> None:
    try:
        artifact.verify(root=str(folder))
    except ValueError as error:
        shutil.rmtree(folder)
        raise PlatformError(
            f"{artifact.qualified_name} differs from what was logged: {error}.",
            fix="Wait for the next attempt, which downloads it again.",
        ) from error
