"""What reaches an application's process, and what does not."""

from pathlib import Path

import pytest

from schemas.applications import Application
from worker.applications.environment import Door, application_environment

_DOOR = Door("http://127.0.0.1:1234/v1", "the-token")
_WORKER = {
    "PATH": "/usr/bin",
    "LC_ALL": "de_DE.UTF-8",
    "HTTPS_PROXY": "http://proxy:3128",
    "NO_PROXY": "wandb.internal",
    "WANDB_BASE_URL": "https://wandb.internal",
    "WANDB_API_KEY": "the-workers-key",
    "WANDB_CACHE_DIR": "/cache",
    "WEAVE_SERVER_CACHE_DIR": "/weave-cache",
    "WF_TRACE_SERVER_URL": "https://traces.internal",
    "CELERY_BROKER_URL": "redis://:password@redis/0",
    "WEIGHBRIDGE_WEBHOOK_SECRET": "the-secret",
    "WEIGHBRIDGE_ENGINE_KEY": "the-engines-key",
    "WEIGHBRIDGE_MODEL_OPENAI": "the-judges-key",
    "WEIGHBRIDGE_APPLICATION_WANDB_API_KEY": "its-own-key",
    "OPENAI_API_KEY": "somebodys-key",
    "AWS_SECRET_ACCESS_KEY": "aws",
    "QDRANT_URL": "https://qdrant",
}


def _environment(folder: Path, *names: str) -> dict[str, str]:
    application = Application.model_validate({"import": ["acme"], "environment": names})
    return application_environment(application, _DOOR, folder, "its-own-key", _WORKER)


def test_it_finds_programs_and_the_way_to_wandb(tmp_path: Path) -> None:
    environment = _environment(tmp_path)
    for name in ("PATH", "LC_ALL", "HTTPS_PROXY", "WANDB_BASE_URL", "WF_TRACE_SERVER_URL"):
        assert environment[name] == _WORKER[name]


def test_its_requests_go_to_the_gateway_and_through_no_proxy(tmp_path: Path) -> None:
    environment = _environment(tmp_path)
    assert environment["OPENAI_BASE_URL"] == _DOOR.url
    assert environment["OPENAI_API_KEY"] == _DOOR.token
    assert (
        environment["NO_PROXY"] == environment["no_proxy"] == "wandb.internal,127.0.0.1,localhost"
    )


def test_it_gets_its_own_wandb_key(tmp_path: Path) -> None:
    assert _environment(tmp_path)["WANDB_API_KEY"] == "its-own-key"


def test_no_secret_of_the_worker_reaches_it(tmp_path: Path) -> None:
    values = " ".join(_environment(tmp_path).values())
    for secret in ("password", "the-secret", "engines-key", "judges-key", "somebodys-key", "aws"):
        assert secret not in values
    assert "the-workers-key" not in values


def test_it_gets_the_variables_that_the_gate_names(tmp_path: Path) -> None:
    assert "QDRANT_URL" not in _environment(tmp_path)
    environment = _environment(tmp_path, "QDRANT_URL", "NOT_SET")
    assert environment["QDRANT_URL"] == "https://qdrant"
    assert "NOT_SET" not in environment


@pytest.mark.parametrize("name", ["HOME", "TMPDIR", "WANDB_CACHE_DIR", "WEAVE_SERVER_CACHE_DIR"])
def test_its_files_are_in_its_own_folder(tmp_path: Path, name: str) -> None:
    folder = Path(_environment(tmp_path)[name])
    assert folder.is_relative_to(tmp_path)
    assert folder.is_dir()
