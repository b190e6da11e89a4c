"""How soon another worker goes on with what a dead one left."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.stage import GPU_WORKERS, Stage, set_up
from tests.waiting import wait_for

_LEASE = 6.0  # seconds
_BOUND = _LEASE + 15  # seconds
_PATIENCE = 120.0  # seconds


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield set_up(tmp_path / "stage", stack, random.Random(0), 1, _LEASE)


def _holder(stage: Stage) -> str:
    return next((record.holder for record in stage.ledger.all()), "")


def test_another_worker_soon_runs_what_a_killed_one_was_weighing(stage: Stage) -> None:
    stage.pushers.start("pusher", ["-m", "tests.chaos.pusher", "0", "1", "0", *stage.collections])
    wait_for(lambda: bool(_holder(stage)), _PATIENCE)
    dead = _holder(stage)
    worker = next(one for one in GPU_WORKERS if f"-{stage.supervisor.pid(one)}@" in dead)
    stage.supervisor.kill(worker)
    seconds = wait_for(lambda: _holder(stage) not in ("", dead), _PATIENCE)
    print(f"another worker ran it {seconds:.1f} s after the kill")  # noqa: T201 (the figure)
    assert seconds < _BOUND
