"""A project of the local W&B for a whole file of tests, because publishing takes seconds."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from local_wandb import LocalWandb


@pytest.fixture(scope="module")
def team_project(
    local_wandb: LocalWandb, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The path of a project; both SDKs talk to the local W&B."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in local_wandb.environment(tmp_path_factory.mktemp("client")).items():
            patch.setenv(variable, value)
        yield f"{local_wandb.config.entity}/test-{uuid4().hex[:8]}"
