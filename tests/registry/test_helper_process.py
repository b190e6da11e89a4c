"""wandb's helper process ends in time, even if it never hears that it shall."""

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

_PATIENCE = 20.0  # seconds

_DEAF_AT_EXIT = """
from tests.registry.test_helper_process import deafen
from registry import helper_process
from registry.calls import wandb_api

helper_process.WITHIN = 0.2
wandb_api(5)
print(deafen().pid)
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


def deafen() -> psutil.Process:
    """Stop this process's helper process, as if it had missed what it is told next."""
    (helper,) = helper_process.running()
    helper.suspend()
    return helper


def _wait_until_gone(pid: int) -> None:
    """What was killed is there until its parent has asked how it ended."""
    wait_for(lambda: not psutil.pid_exists(pid), _PATIENCE)


def test_it_is_started_anew_after_its_end(project: str) -> None:
    wandb_api(5)
    (before,) = helper_process.running()
    end_helper_process()
    assert not helper_process.running()
    wandb_api(5)
    (after,) = helper_process.running()
    assert before.pid != after.pid


def test_one_that_does_not_hear_its_end_is_killed(
    project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper_process, "WITHIN", 0.2)
    wandb_api(5)
    helper = deafen()
    end_helper_process()
    _wait_until_gone(helper.pid)


def test_what_the_sdk_itself_waits_for_is_given_up(
    project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper_process, "WITHIN", 0.2)
    wandb_api(5)
    (helper,) = helper_process.running()
    wandb_setup.singleton().asyncer.run_soon(_never)
    end_helper_process()
    _wait_until_gone(helper.pid)
    assert wandb_api(5).default_entity


async def _never() -> None:
    await asyncio.Event().wait()


def test_a_program_ends_although_its_helper_process_does_not(project: str) -> None:
    ended = subprocess.run([sys.executable, "-c", _DEAF_AT_EXIT], capture_output=True, check=True)
    _wait_until_gone(int(ended.stdout))


def test_a_child_that_has_just_ended_is_not_asked_for_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    ended = psutil.Process(child.pid)
    child.wait()
    monkeypatch.setattr(psutil.Process, "children", lambda _: [ended])
    assert helper_process.running() == []


def test_what_was_begun_by_a_run_is_sent_before_the_end(project: str) -> None:
    command = [sys.executable, "-c", _UNFINISHED]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    assert wandb.Api().run(ended.stdout.strip()).summary["loss"] == 0.5
