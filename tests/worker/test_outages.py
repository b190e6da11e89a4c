"""A trace server that goes away while an evaluation runs.

Source: docs/upstream/weave-protocol.md, "Delivery and outages".
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import wandb
import weave
from weave.trace.weave_client import WeaveClient

from local_wandb import LocalWandb, LocalWandbConfig
from registry.helper_process import end_helper_process
from rehearsal.redis_server import free_port
from schemas.errors import PlatformError
from tests.weave_clients import connected
from worker.evaluation import run_evaluation
from worker.verdict.evidence import Evaluated, read_back

_ROWS = [{"question": f"question {number}", "answer": "yes"} for number in range(12)]
_AWAY = 3.0  # seconds


@weave.op
def correct(answer: str, output: dict[str, str]) -> bool:
    return output["answer"] == answer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalWandb]:
    """A local W&B of this test alone, which comes back where it was."""
    config = LocalWandbConfig(data_dir=tmp_path / "wandb", port=free_port())
    with LocalWandb(config) as running:
        yield running


@pytest.fixture
def client(
    server: LocalWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WeaveClient]:
    end_helper_process()
    for variable, value in server.environment(tmp_path / "client").items():
        monkeypatch.setenv(variable, value)
    project = f"{server.config.entity}/outage"
    with connected(project) as client:
        yield client
    end_helper_process()


@pytest.fixture
def run(server: LocalWandb, client: WeaveClient) -> Iterator[Any]:
    with wandb.init(project="outage", settings=wandb.Settings(console="off")) as run:
        yield run
        if server.pid is None:
            server.start()  # else both SDKs wait for it when they end


def _evaluate(client: WeaveClient, run: wandb.Run, model: Any) -> Evaluated:
    dataset = weave.Dataset(name="rows", rows=_ROWS)
    evaluation = weave.Evaluation(dataset=dataset, scorers=[correct])
    return run_evaluation(client, run, evaluation, model, concurrency=4)


def test_rows_answered_during_a_short_outage_arrive(
    server: LocalWandb, client: WeaveClient, run: wandb.Run
) -> None:
    away: list[str] = []

    def go_away() -> None:
        server.stop()
        Event().wait(_AWAY)
        server.start()

    @weave.op
    async def ask(question: str) -> dict[str, str]:
        if question == away_at:
            away.append(question)
            await asyncio.to_thread(go_away)
        return {"answer": "yes"}

    away_at = ""
    _evaluate(client, run, ask)  # ops and objects are up
    away_at = "question 6"
    found = _evaluate(client, run, ask)
    assert away == [away_at]
    assert len(found.rows) == len(_ROWS)
    assert found.summary["correct"]["true_fraction"] == 1.0


def test_evidence_on_an_unreachable_server_is_a_platform_error(
    server: LocalWandb, client: WeaveClient, run: wandb.Run
) -> None:
    @weave.op
    async def ask(question: str) -> dict[str, str]:
        return {"answer": "yes"}

    call = _evaluate(client, run, ask).call
    server.stop()
    with pytest.raises(PlatformError, match=f"read evaluation call {call} back"):
        read_back(client, call)
