from pathlib import Path

import pytest
import wandb

from schemas.errors import ConfigurationError
from schemas.refs import ArtifactRef
from worker.download import download


def _log(run: wandb.Run, folder: Path, text: str) -> ArtifactRef:
    file = folder / "weights.txt"
    file.write_text(text)
    artifact = wandb.Artifact("adapter", type="model")
    artifact.add_file(str(file))
    logged = run.log_artifact(artifact).wait()
    return ArtifactRef.parse(logged.qualified_name)


def test_the_files_arrive_and_the_run_is_recorded_as_their_user(
    run: wandb.Run, tmp_path: Path
) -> None:
    ref = _log(run, tmp_path, "one")
    folder = download(run, ref, tmp_path / "cache")
    assert (folder / "weights.txt").read_text() == "one"
    used_by = wandb.Api().artifact(str(ref)).used_by()
    assert [user.id for user in used_by] == [run.id]


def test_versions_of_different_contents_do_not_share_a_folder(
    run: wandb.Run, tmp_path: Path
) -> None:
    folders = [
        download(run, _log(run, tmp_path, text), tmp_path / "cache") for text in ("one", "two")
    ]
    assert [(folder / "weights.txt").read_text() for folder in folders] == ["one", "two"]


def test_an_unknown_version_is_named(run: wandb.Run, project: str, tmp_path: Path) -> None:
    ref = ArtifactRef.parse(f"{project}/nothing:v7")
    with pytest.raises(ConfigurationError, match=r"could not use version .*/nothing:v7"):
        download(run, ref, tmp_path / "cache")
