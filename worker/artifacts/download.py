"""Step 1: download the version, through the run, so that W&B records the lineage."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import wandb

from registry.calls import wandb_call
from schemas.errors import PlatformError
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from engine.file_rules import ListedFile, refuse_unsafe
from engine.options import OnProgress
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
    """Declare a version as an input of the run, and have its files until the block is left.

    The files are judged by the version's list before any is fetched, and verified when all are
    there. A version that was downloaded before is not fetched again, whatever it is called now.

    Args:
        run: the evaluation's run.
        settings: the cache's place and size, and how large a version may be.
        on_progress: hears how the download goes.
        trust_remote_code: allow model code, `*.py`.

    Yields:
        The folder that holds the files; its name is their digest.

    Raises:
        ConfigurationError: there is no such version.
        ArtifactError: one of its files is refused, or all are too large; nothing was fetched.
        PlatformError: W&B did not answer, or the download was cut; the next one goes on from
            there.
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
            on_progress("checking what arrived")
            _verify(artifact, folder)

    # Computed here from the list of files and their digests: a server's words become no path.
    with cache.holding(artifact.manifest.digest(), files, complete, on_progress) as folder:
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
            f"{artifact.qualified_name} did not arrive as it was logged: {error}.",
            fix="The next attempt fetches it anew.",
        ) from error
