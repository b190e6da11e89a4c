"""One local W&B for every test of this folder, and the real SDK in the test's own process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import wandb
from wandb.apis.public import Api

from local_wandb import LocalWandb
from registry.helper_process import end_helper_process

Log = Callable[..., wandb.Artifact]


@pytest.fixture(scope="session")
def server(local_wandb: LocalWandb) -> LocalWandb:
    """The server of all tests: the SDK caches artifacts by id, and two servers have equal ids."""
    return local_wandb


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Points the SDK of this process to a server, with the test's own caches."""

    def point_to(server: LocalWandb, **changes: str) -> None:
        end_helper_process()
        for name, value in (server.environment(tmp_path / "client") | changes).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("WANDB_DISABLE_WEAVE", "true")

    yield point_to
    end_helper_process()


@pytest.fixture
def project(server: LocalWandb, sdk: Callable[..., None]) -> str:
    """The path of a project that only this test uses."""
    name = f"test-{uuid4().hex[:8]}"
    sdk(server, WANDB_PROJECT=name)
    return f"{server.config.entity}/{name}"


@pytest.fixture
def api(project: str) -> Api:
    return wandb.Api()


@pytest.fixture
def registry(api: Api, server: LocalWandb) -> str:
    """The path of a registry that only this test uses."""
    name = f"Models {uuid4().hex[:8]}"
    api.create_registry(name, visibility="organization", organization=server.config.org)
    return f"{server.config.org}/wandb-registry-{name}"


@pytest.fixture
def log(project: str, tmp_path: Path) -> Log:
    """Logs a version with one file, from a new run; links it if a target is given."""

    def log_version(
        text: str,
        name: str = "adapter",
        *,
        link: str = "",
        link_aliases: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> wandb.Artifact:
        aliases, tags = kwargs.pop("aliases", None), kwargs.pop("tags", None)
        artifact = wandb.Artifact(name, **{"type": "model", **kwargs})
        weights = (
            tmp_path / "weights.txt"
        )  # Artifact.new_file would leave its folder to the garbage collector
        weights.write_text(text)
        artifact.add_file(str(weights))
        with wandb.init(job_type="train") as run:
            run.log_artifact(artifact, aliases=aliases, tags=tags).wait()
            if link:
                return run.link_artifact(artifact, link, aliases=list(link_aliases))
        return artifact

    return log_version
