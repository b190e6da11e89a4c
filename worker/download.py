"""Step 1: download the version, through the run, so that W&B records the lineage."""

from pathlib import Path

import wandb

from registry.calls import wandb_call
from schemas.refs import ArtifactRef


def download(run: wandb.Run, ref: ArtifactRef, cache_dir: Path) -> Path:
    """Declare the version as an input of the run, and fetch its files.

    Args:
        run: the evaluation's run.
        cache_dir: versions are kept below it, one folder per digest.

    Returns:
        The folder that holds the files.

    Raises:
        ConfigurationError: there is no such version.
        PlatformError: W&B did not answer.
    """
    with wandb_call(f"use version {ref}"):
        artifact = run.use_artifact(str(ref))
    folder = cache_dir / "versions" / artifact.digest
    with wandb_call(f"download version {ref}"):
        artifact.download(root=str(folder))
    return folder
