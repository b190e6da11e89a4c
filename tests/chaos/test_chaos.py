"""The short form of ``python -m tests.chaos.run``: few versions, three seeds."""

import subprocess
import sys
from pathlib import Path

import pytest

_VERSIONS = 8
_LEASE = 6.0  # seconds


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3], ids="seed {}".format)
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
    print(done.stdout)  # noqa: T201 (pytest -s shows the summary)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}"
