"""Step 1: download the version, through the run, so that W&B records the lineage."""

from pathlib import Path

import wandb
from pydantic import BaseModel, ConfigDict

from registry.calls import wandb_call
from schemas.refs import ArtifactRef


class DownloadedVersion(BaseModel):
    """A version's files on this machine.

    Attributes:
        folder: where they are.
        digest: the artifact's content digest, MD5 in hexadecimal.
    """

    model_config = ConfigDict(frozen=True)

    ref: ArtifactRef
    folder: Path
    digest: str


def download(run: wandb.Run, ref: ArtifactRef, cache_dir: Path) -> DownloadedVersion:
    """Declare the version as an input of the run, and fetch its files.

    Args:
        run: the evaluation's run.
        cache_dir: versions are kept below it, one folder per digest.

    Raises:
        ConfigurationError: there is no such version.
        PlatformError: W&B did not answer.
    """
    with wandb_call(f"use version {ref}"):
        artifact = run.use_artifact(str(ref))
    folder = cache_dir / "versions" / artifact.digest
    with wandb_call(f"download version {ref}"):
        artifact.download(root=str(folder))
    return DownloadedVersion(ref=ref, folder=folder, digest=artifact.digest)
