"""The client of Weave, and the run of an attempt: how it ends when W&B does not answer."""

import threading
from collections.abc import Iterator

import pytest
import weave
from weave.trace.settings import should_allow_unsafe_custom_obj_decode

from local_wandb import LocalWandb
from registry.helper_process import end_helper_process
from schemas.errors import PlatformError
from schemas.gates import Gate
from schemas.refs import ArtifactRef, WeaveRef
from schemas.settings import Settings
from tests.faulty_network import FaultyNetwork
from tests.worker.weighed import weighing_of
from worker import recording
from worker.recording import evaluation_run, weave_client

_WITHIN = 3.0  # seconds


@pytest.fixture
def network(
    local_wandb: LocalWandb, project: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyNetwork]:
    monkeypatch.setattr(recording, "_FINISHED_WITHIN", _WITHIN)
    with FaultyNetwork(local_wandb.url) as faulty:
        monkeypatch.setenv("WANDB_BASE_URL", faulty.url)
        yield faulty
        faulty.mode = "ok"  # else whoever ends the SDK's helper process would wait
        end_helper_process()


def _attempt(
    network: FaultyNetwork, gate: Gate, version: ArtifactRef, settings: Settings, broken: str = ""
) -> None:
    """An attempt that measures something, or breaks, and whose end does not arrive."""
    with evaluation_run(weighing_of(gate, version), settings) as run:
        run.log({"answer_correctness": 0.5})
        network.mode = "500"
        if broken:
            raise RuntimeError(broken)


def test_a_run_whose_end_does_not_arrive_in_time_is_a_platform_error(
    network: FaultyNetwork, gate: Gate, version: ArtifactRef, settings: Settings
) -> None:
    with pytest.raises(PlatformError, match="W&B did not finish run"):
        _attempt(network, gate, version, settings)


def test_an_attempts_error_is_raised_even_if_its_run_cannot_end(
    network: FaultyNetwork, gate: Gate, version: ArtifactRef, settings: Settings
) -> None:
    with pytest.raises(RuntimeError, match="the engine died"):
        _attempt(network, gate, version, settings, broken="the engine died")


def test_a_worker_opens_a_project_once(project: str, gate: Gate) -> None:
    """A client of Weave has threads that nothing ends; a worker weighs for months."""
    first = weave_client(_of(gate, project))
    threads = set(threading.enumerate())
    again = weave_client(_of(gate, project))
    assert again is first
    assert set(threading.enumerate()) <= threads  # those of tests before may end


def test_each_gate_finds_its_own_project_open(project: str, gate: Gate) -> None:
    first, second = (_of(gate, path) for path in (project, f"{project}-two"))
    clients = [weave_client(one) for one in (first, second, first, second)]
    assert clients[:2] == clients[2:]
    assert f"{clients[0].entity}/{clients[0].project}" == project
    assert weave.get_client() is clients[1]


def test_an_interrupted_call_delays_no_later_weighing(project: str, gate: Gate) -> None:
    """Left to itself, Weave waits for ever for such a call before it opens another project."""
    first, second = (_of(gate, path) for path in (project, f"{project}-two"))
    cut_off = weave_client(first).create_call("asks_a_row", {})
    weave_client(second)
    again = weave_client(first)
    again.flush()
    assert [call.id for call in again.get_calls()] == [cut_off.id]


def test_stored_code_is_loaded_for_the_gate_that_allows_it_alone(project: str, gate: Gate) -> None:
    allowed_now = []
    for allowed in (False, True, False):
        weave_client(_of(gate, project).model_copy(update={"allow_stored_code": allowed}))
        allowed_now.append(should_allow_unsafe_custom_obj_decode())
    assert allowed_now == [False, True, False]


def _of(gate: Gate, project: str) -> Gate:
    rag_model = WeaveRef.parse(f"weave:///{project}/object/RagModel:v0")
    return gate.model_copy(update={"rag_model": rag_model})
