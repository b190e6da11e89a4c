"""Ends an engine when its owner, the worker, ends.

    python guard.py OWNER_PID OWNER_STARTED SCRATCH -- COMMAND...

Starts COMMAND in a new process group. It ends the whole group when the owner has ended (also by
SIGKILL), when the guard receives SIGTERM, or when the command itself ends. Then it removes the
folder SCRATCH, which holds the engine's sockets and temporary files. OWNER_STARTED is the owner's
start time as psutil reports it: a later process with the same id is not the owner.

The guard is a program, not a module. It imports nothing from the project and needs about 15 MB.
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

# Seconds between two checks of the owner.
POLL_INTERVAL = 0.5
# Seconds in which the engine may free its memory and its GPU before it is killed.
GRACE_PERIOD = 10.0
# Seconds between two checks whether it has ended.
EXIT_POLL_INTERVAL = 0.05
# Seconds by which two readings of a process's start time may differ, if the clock was set.
START_TOLERANCE = 5.0


def main(owner_pid: int, owner_started: float, scratch: str, command: list[str]) -> int:
    """Run the command until it ends, the owner ends, or the guard receives a signal.

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
            if stop.wait(POLL_INTERVAL):
                break
    finally:
        end_group(engine)
        shutil.rmtree(scratch, ignore_errors=True)
    return engine.returncode


def is_running(pid: int, started: float) -> bool:
    """Whether the process still runs; a later one with the same id does not count."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < START_TOLERANCE
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_group(engine: subprocess.Popen[bytes]) -> None:
    """End every process in the engine's group: SIGTERM first, SIGKILL after ``GRACE_PERIOD`` s.

    The group may outlive its first process: vLLM's other processes free the shared memory.
    """
    _signal_group(engine.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_PERIOD
    while _group_exists(engine) and time.monotonic() < deadline:
        time.sleep(EXIT_POLL_INTERVAL)
    _signal_group(engine.pid, signal.SIGKILL)
    engine.wait()


def _group_exists(engine: subprocess.Popen[bytes]) -> bool:
    engine.poll()  # reaps the first process, which otherwise stays in the group as a zombie
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
