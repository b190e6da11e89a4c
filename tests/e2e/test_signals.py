"""A signal that ends a rehearsal also stops every process that it started."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.e2e.rehearsed import mentioning

pytestmark = pytest.mark.engine

_ENDED_WITHIN = 120  # seconds; a hang must not hold the whole suite


def _temporary() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).iterdir()}


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_signal_during_a_weighing_stops_every_process(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "rehearsal"
    before = _temporary()
    rehearsal = subprocess.Popen(
        [sys.executable, "-m", "weighbridge", "rehearse", "--dir", str(folder)],
        env={name: value for name, value in os.environ.items() if name != "CELERY_BROKER_URL"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert rehearsal.stdout is not None
    for line in rehearsal.stdout:
        if "rebuild" in line:  # the engine is starting
            break
    assert len(mentioning(folder)) > 1
    rehearsal.send_signal(number)
    rehearsal.communicate(timeout=_ENDED_WITHIN)
    assert rehearsal.returncode == 128 + number
    assert mentioning(folder) == []
    assert _temporary() <= before
