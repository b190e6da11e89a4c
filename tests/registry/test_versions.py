from collections.abc import Callable
from uuid import uuid4

import pytest
from wandb.errors import AuthenticationError

from registry.calls import wandb_api, wandb_call
from registry.versions import resolve
from schemas.errors import ConfigurationError, PlatformError
from schemas.refs import ArtifactRef

_TIMEOUT = 19.0


@pytest.fixture
def collection() -> str:
    return f"collection {uuid4().hex[:8]}"


def test_an_alias_is_resolved_to_its_number(link: Callable[..., str], collection: str) -> None:
    for text in ("one", "two"):
        linked = link(text, collection)
    version = resolve(wandb_api(_TIMEOUT), ArtifactRef.parse(linked.replace(":v1", ":latest")))
    assert str(version.ref) == linked
    assert version.ref.number == 1


@pytest.mark.parametrize(
    "missing",
    [
        "wandb32/wandb-registry-RAG Chat Models/nothing:v0",
        "wandb32/wandb-registry-Nowhere/nothing:v0",
        "nobody/wandb-registry-RAG Chat Models/nothing:v0",
    ],
)
def test_a_missing_version_is_a_configuration_error(
    registry: Callable[[str], str], missing: str
) -> None:
    registry("RAG Chat Models")
    with pytest.raises(ConfigurationError, match=f"could not read version {missing}"):
        resolve(wandb_api(_TIMEOUT), ArtifactRef.parse(missing))


def test_a_refused_key_is_a_configuration_error(
    project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with pytest.raises(ConfigurationError, match=r"refused to .*Check WANDB_API_KEY"):
        resolve(wandb_api(_TIMEOUT), ArtifactRef.parse("e/p/c:v0"))


def test_a_server_that_does_not_answer_is_a_platform_error() -> None:
    # The SDK's message (wandb 0.31); tests/worker/test_tasks.py has the real error.
    words = "Failed to verify credentials: the service process did not respond in time."
    with pytest.raises(PlatformError), wandb_call("log in"):
        raise AuthenticationError(words)
