"""Keeps an engine from outliving the worker it works for.

    python guard.py OWNER_PID OWNER_STARTED SCRATCH -- COMMAND...

Starts COMMAND in a process group of its own and ends the whole group when the owner is gone
(killed with SIGKILL, too), when the guard gets SIGTERM, or when the command itself ends. Then the
SCRATCH folder, where the engine's sockets and temporary files lie, is removed. OWNER_STARTED is
the owner's start time as psutil reports it, so that a new process with an old number is not
mistaken for the owner.

A program, not a module: it imports nothing of the project and costs about 15 MB.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import types

import psutil

# Seconds between two looks at the owner.
LOOK_EVERY = 0.5
# Seconds the engine gets to free its memory and its GPU before it is killed.
GRACE = 10.0
# Seconds between two looks whether it has done so.
ENDING_LOOK = 0.05
# Seconds by which two processes may disagree about a third one's start (the clock was set).
SAME_START = 5.0


def main(owner_pid: int, owner_started: float, scratch: str, command: list[str]) -> int:
    """Run the command until it, the owner or the guard has to end.

    Returns:
        The command's exit status.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: types.FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    engine = subprocess.Popen(command, process_group=0)
    try:
        while engine.poll() is None and is_running(owner_pid, owner_started):
            if stop.wait(LOOK_EVERY):
                break
    finally:
        end_group(engine)
        shutil.rmtree(scratch, ignore_errors=True)
    return engine.returncode


def is_running(pid: int, started: float) -> bool:
    """Whether this very process, not a later one with its number, still runs."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < SAME_START
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_group(engine: subprocess.Popen[bytes]) -> None:
    """End every process of the engine's group: asked first, killed after ``GRACE`` seconds.

    The group may outlive its first process: vLLM's other processes free the shared memory.
    """
    _signal_group(engine.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while _group_exists(engine) and time.monotonic() < deadline:
        time.sleep(ENDING_LOOK)
    _signal_group(engine.pid, signal.SIGKILL)
    engine.wait()


def _group_exists(engine: subprocess.Popen[bytes]) -> bool:
    engine.poll()  # takes note of the first process's end, which else stays in the group
    return _signal_group(engine.pid, 0)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    _, pid, started, folder, _, *program = sys.argv
    sys.exit(main(int(pid), float(started), folder, program))
