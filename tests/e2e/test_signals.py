"""Whatever ends a rehearsal ends everything that it started."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

_ENDED_WITHIN = 120  # seconds; a hang must not hold the whole suite


def _mentioning(folder: Path) -> list[psutil.Process]:
    """Processes that name the folder on their command line or in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in f"{process.cmdline()} {process.environ()}":
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found


def _engine_folders() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("weighbridge-engine-*")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_a_weighing_ends_everything(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "rehearsal"
    before = _engine_folders()
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
    assert len(_mentioning(folder)) > 1
    rehearsal.send_signal(number)
    rehearsal.communicate(timeout=_ENDED_WITHIN)
    assert rehearsal.returncode == 128 + number
    assert _mentioning(folder) == []
    assert _engine_folders() <= before
