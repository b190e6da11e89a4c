"""How soon another worker takes over the weighing of a dead one."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.environment import GPU_WORKERS, Environment, start_environment
from tests.waiting import wait_for

_LEASE = 6.0  # seconds
_BOUND = _LEASE + 15  # seconds
_TIMEOUT = 120.0  # seconds


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    with ExitStack() as stack:
        yield start_environment(tmp_path / "environment", stack, random.Random(0), 1, _LEASE)


def _holder(environment: Environment) -> str:
    return next((record.holder for record in environment.ledger.all()), "")


def test_another_worker_soon_takes_over_the_weighing_of_a_killed_one(
    environment: Environment,
) -> None:
    arguments = ["-m", "tests.chaos.link_versions", "0", "1", "0", *environment.collections]
    environment.programs.start("link versions", arguments)
    wait_for(lambda: bool(_holder(environment)), _TIMEOUT)
    dead = _holder(environment)
    worker = next(one for one in GPU_WORKERS if f"-{environment.supervisor.pid(one)}@" in dead)
    environment.supervisor.kill(worker)
    seconds = wait_for(lambda: _holder(environment) not in ("", dead), _TIMEOUT)
    print(f"another worker claimed it {seconds:.1f} s after the kill")  # noqa: T201 (the figure)
    assert seconds < _BOUND
