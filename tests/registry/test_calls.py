"""How SDK errors are translated, with the errors that the SDK raises during real outages."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import wandb
from wandb.errors import AuthenticationError, CommError

from local_wandb import LocalWandb
from registry.calls import wandb_api, wandb_call
from registry.champions import find
from registry.helper_process import end_helper_process
from schemas.errors import ArtifactError, ConfigurationError, PlatformError
from schemas.refs import ArtifactRef
from tests.faulty_network import FaultyNetwork

_WITHIN = 1.0  # seconds
_PERMANENT = ("400", "401", "403", "404", "422")
_PASSING = ("429", "500", "503", "slow", "cut")
_RENAME = """
mutation Rename($input: UpdateArtifactInput!) { updateArtifact(input: $input) { artifact { id } } }
"""

Call = Callable[[wandb.Api], object]


def _read(api: wandb.Api) -> object:
    return find(api, ArtifactRef.parse("wandb32/wandb-registry-RAG Models/RAG Model:v0"))


def _list(api: wandb.Api) -> object:
    return list(api.registry("RAG Models", organization="wandb32").collections())


def _write(api: wandb.Api) -> object:
    return api._service_api.execute_graphql(_RENAME, {"input": {"artifactID": "QXJ0"}})


def _log_in(_api: wandb.Api) -> object:
    end_helper_process()
    return wandb_api(_WITHIN).viewer


@pytest.fixture
def network(
    local_wandb: LocalWandb, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyNetwork]:
    with FaultyNetwork(local_wandb.url) as faulty:
        monkeypatch.setenv("WANDB_BASE_URL", faulty.url)
        # Ending the SDK's helper process waits for its pending retries.
        monkeypatch.setenv("WANDB_X_GRAPHQL_RETRY_WAIT_MAX_SECONDS", "1")
        faulty.delay = 2 * _WITHIN
        yield faulty
        faulty.mode = "ok"
        end_helper_process()


@pytest.fixture
def api(network: FaultyNetwork) -> wandb.Api:
    return wandb_api(_WITHIN)


@pytest.mark.parametrize("call", [_read, _write, _log_in])
@pytest.mark.parametrize("mode", _PERMANENT)
def test_a_refused_call_is_not_retried(
    network: FaultyNetwork, api: wandb.Api, mode: str, call: Call
) -> None:
    network.mode = mode
    with (
        pytest.raises(ConfigurationError, match=r"W&B (could not|refused to) "),
        wandb_call("do it"),
    ):
        call(api)
    assert network.hits == 1


@pytest.mark.parametrize("call", [_read, _write, _log_in])
@pytest.mark.parametrize("mode", _PASSING)
def test_an_outage_is_a_platform_error_within_the_timeout(
    network: FaultyNetwork, api: wandb.Api, mode: str, call: Call
) -> None:
    network.mode = mode
    start = time.monotonic()
    with pytest.raises(PlatformError, match="W&B did not "), wandb_call("do it"):
        call(api)
    assert time.monotonic() - start < 10 * _WITHIN  # room for a busy machine


def test_a_short_outage_goes_unnoticed(
    network: FaultyNetwork, registry: Callable[[str], str]
) -> None:
    registry("RAG Models")
    api = wandb_api(19.0)
    network.mode = "500"

    def clear_up(seen: int) -> None:
        while network.hits == seen:
            time.sleep(0.01)
        network.mode = "ok"

    threading.Thread(target=clear_up, args=(network.hits,)).start()
    with wandb_call("read the version"):
        assert _read(api) is None


def test_a_failed_feature_query_is_a_platform_error(network: FaultyNetwork, api: wandb.Api) -> None:
    """The SDK reports that the server is too old."""
    network.mode = "500"
    with pytest.raises(PlatformError, match="W&B did not do it"), wandb_call("do it"):
        _list(api)


def test_a_dead_helper_process_is_a_platform_error(api: wandb.Api) -> None:
    end_helper_process()
    with pytest.raises(PlatformError, match="W&B did not do it"), wandb_call("do it"):
        _list(api)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CommError("artifact membership 'x:v9' not found in 'e/p'"), ConfigurationError),
        (CommError("permission denied"), ConfigurationError),
        (ValueError("ArtifactSaver.createArtifact: returned error 403: {}"), ConfigurationError),
        (ValueError("Artifact x already exists with type 'model'"), ConfigurationError),
        (AuthenticationError("API key must have 40+ characters"), ConfigurationError),
        (CommError("Timed out while retrying: HTTP 500: not found"), PlatformError),
        (ValueError("giving up after 6 attempt(s) while retrying: HTTP 429: slow"), PlatformError),
        (ValueError("ArtifactSaver.createArtifact: returned error 409: {}"), PlatformError),
        (requests.ConnectionError("refused"), PlatformError),
        (CommError(""), PlatformError),
    ],
)
def test_without_a_status_the_message_decides(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised, wandb_call("do it"):
        raise error
    assert raised.type is kind


def test_our_own_errors_pass_unchanged() -> None:
    with pytest.raises(ArtifactError, match=r"^pickled$"), wandb_call("read it"):
        raise ArtifactError("pickled")
