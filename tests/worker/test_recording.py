"""The run of an attempt: how it ends where W&B does not take what it has to say."""

from collections.abc import Iterator

import pytest

from registry.helper_process import end_helper_process
from rehearsal.local_wandb import LocalWandb
from schemas.errors import PlatformError
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from tests.faulty_network import FaultyNetwork
from tests.worker.weighed import weighing_of
from worker import recording
from worker.recording import evaluation_run

_WITHIN = 3.0  # seconds


@pytest.fixture
def network(
    local_wandb: LocalWandb, project: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyNetwork]:
    monkeypatch.setattr(recording, "_FINISHED_WITHIN", _WITHIN)
    with FaultyNetwork(local_wandb.url) as faulty:
        monkeypatch.setenv("WANDB_BASE_URL", faulty.url)
        yield faulty
        faulty.weather = "clear"  # else whoever ends the SDK's helper process would wait
        end_helper_process()


def _attempt(
    network: FaultyNetwork, gate: Gate, version: ArtifactRef, settings: Settings, broken: str = ""
) -> None:
    """An attempt that measures something, or breaks, and whose last words do not arrive."""
    with evaluation_run(weighing_of(gate, version), settings) as run:
        run.log({"answer_correctness": 0.5})
        network.weather = "500"
        if broken:
            raise RuntimeError(broken)


def test_a_run_whose_end_does_not_arrive_in_time_is_no_success(
    network: FaultyNetwork, gate: Gate, version: ArtifactRef, settings: Settings
) -> None:
    with pytest.raises(PlatformError, match="W&B did not finish run"):
        _attempt(network, gate, version, settings)


def test_what_broke_an_attempt_is_told_even_if_its_run_cannot_end(
    network: FaultyNetwork, gate: Gate, version: ArtifactRef, settings: Settings
) -> None:
    with pytest.raises(RuntimeError, match="the engine died"):
        _attempt(network, gate, version, settings, broken="the engine died")
