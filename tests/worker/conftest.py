import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import wandb
from weave.trace.weave_client import WeaveClient

from schemas.refs import ArtifactRef
from tests.weave_clients import connected


@pytest.fixture
def weave_project(project: str) -> Iterator[WeaveClient]:
    with connected(project) as client:
        yield client


@pytest.fixture
def target(registry: Callable[[str], str]) -> str:
    """A collection, of this test only, in the registry of promoted applications."""
    return f"{registry('RAG Models')}/{uuid4().hex[:8]}"


@pytest.fixture
def log_files(run: wandb.Run, tmp_path: Path) -> Callable[..., ArtifactRef]:
    """Logs files, by path and contents, and references; returns the version."""

    def log_version(
        files: dict[str, bytes], *references: str, name: str = "adapter"
    ) -> ArtifactRef:
        folder = tmp_path / "logged"
        shutil.rmtree(folder, ignore_errors=True)
        for path, contents in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(contents)
        artifact = wandb.Artifact(name, type="model")
        artifact.add_dir(str(folder))
        for url in references:
            artifact.add_reference(url, name="referred.safetensors", checksum=False)
        return ArtifactRef.parse(str(run.log_artifact(artifact).wait().qualified_name))

    return log_version
