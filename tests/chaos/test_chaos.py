"""The short form of `python -m tests.chaos.run`: few versions, three seeds."""

import subprocess
import sys
from pathlib import Path

import pytest

_VERSIONS = 8
_LEASE = 6.0  # seconds


_LONG = [pytest.param(seed, marks=pytest.mark.long, id=f"seed {seed}") for seed in (2, 3)]


@pytest.mark.parametrize("seed", [pytest.param(1, id="seed 1"), *_LONG])
def test_every_version_gets_its_one_verdict_whatever_dies(seed: int) -> None:
    command = [sys.executable, "-m", "tests.chaos.run", "--seed", str(seed)]
    done = subprocess.run(
        [*command, "--versions", str(_VERSIONS), "--lease", str(_LEASE)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}"
