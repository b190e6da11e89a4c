"""wandb's helper process ends in time, even if it misses the request to end."""

import asyncio
import subprocess
import sys

import psutil
import pytest
import wandb
from wandb.sdk import wandb_setup

from registry import helper_process
from registry.calls import wandb_api
from registry.helper_process import end_helper_process
from tests.waiting import wait_for

_TIMEOUT = 20.0  # seconds

_UNRESPONSIVE_AT_EXIT = """
from tests.registry.test_helper_process import pause_helper
from registry import helper_process
from registry.calls import wandb_api

helper_process.TIMEOUT = 0.2
wandb_api(5)
print(pause_helper().pid)
"""

# A program of its own: the threads of such a run complain once the SDK has ended.
_UNFINISHED = """
import wandb
from registry.helper_process import end_helper_process

run = wandb.init(settings=wandb.Settings(console="off", silent=True))
run.log({"loss": 0.5})
end_helper_process()
print(run.path)
"""


def pause_helper() -> psutil.Process:
    """Pause this process's helper process, so that it misses the next request."""
    (helper,) = helper_process.running()
    helper.suspend()
    return helper


def _wait_until_gone(pid: int) -> None:
    """Whether it has ended; a killed process is a zombie until its parent waits for it."""
    wait_for(lambda: not psutil.pid_exists(pid), _TIMEOUT)


def test_it_is_restarted_by_the_next_call(project: str) -> None:
    wandb_api(5)
    (before,) = helper_process.running()
    end_helper_process()
    assert not helper_process.running()
    wandb_api(5)
    (after,) = helper_process.running()
    assert before.pid != after.pid


def test_a_helper_process_that_does_not_end_is_killed(
    project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper_process, "TIMEOUT", 0.2)
    wandb_api(5)
    helper = pause_helper()
    end_helper_process()
    _wait_until_gone(helper.pid)


def test_the_sdks_own_wait_is_abandoned(project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper_process, "TIMEOUT", 0.2)
    wandb_api(5)
    (helper,) = helper_process.running()
    wandb_setup.singleton().asyncer.run_soon(_never)
    end_helper_process()
    _wait_until_gone(helper.pid)
    assert wandb_api(5).default_entity


async def _never() -> None:
    await asyncio.Event().wait()


def test_a_program_exits_even_if_its_helper_process_does_not(project: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _UNRESPONSIVE_AT_EXIT], capture_output=True, check=True
    )
    _wait_until_gone(int(ended.stdout))


def test_a_child_that_has_just_ended_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    ended = psutil.Process(child.pid)
    child.wait()
    monkeypatch.setattr(psutil.Process, "children", lambda _: [ended])
    assert helper_process.running() == []


def test_pending_data_of_a_run_is_sent_before_the_end(project: str) -> None:
    command = [sys.executable, "-c", _UNFINISHED]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    assert wandb.Api().run(ended.stdout.strip()).summary["loss"] == 0.5
