"""Ends a command, and all that it started, when its owner, the worker, ends.

    python guard.py OWNER_PID OWNER_STARTED SCRATCH GRACE MEMORY -- COMMAND...

Starts COMMAND in a new process group. It ends every process of the group, and every process that
left the group, when the owner has ended (also by SIGKILL), when the guard receives SIGTERM, or when
the command itself ends. Then it removes the folder SCRATCH, which holds the command's sockets and
temporary files. OWNER_STARTED is the owner's start time as psutil reports it: a later process with
the same id is not the owner. GRACE is the seconds between SIGTERM and SIGKILL. MEMORY limits the
address space of each process, in bytes; 0 is no limit. The command inherits the guard's open files.

The guard is a program, not a module. It imports nothing from the project and needs about 15 MB.
"""

import ctypes
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from contextlib import suppress

import psutil

# Seconds between two checks of the owner.
POLL_INTERVAL = 0.5
# Seconds in which an engine may free its memory and its GPU before it is killed.
GRACE_PERIOD = 10.0
# Seconds between two checks whether it has ended.
EXIT_POLL_INTERVAL = 0.05
# Seconds by which two readings of a process's start time may differ, if the clock was set.
START_TOLERANCE = 5.0

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def command(
    owner: psutil.Process, scratch: pathlib.Path, grace: float, memory: int = 0
) -> list[str]:
    """The beginning of a command line that runs a command under a guard.

    Args:
        owner: The process whose end also ends the command.
        scratch: The folder that is removed at the end.
        grace: Seconds between SIGTERM and SIGKILL.
        memory: Most bytes of the address space of each process; 0 is no limit.
    """
    arguments = (owner.pid, owner.create_time(), scratch, grace, memory)
    return [sys.executable, "-P", __file__, *map(str, arguments), "--"]


def main(
    owner_pid: int,
    owner_started: float,
    scratch: str,
    grace: float,
    memory: int,
    program: list[str],
) -> int:
    """Run the command until it ends, the owner ends, or the guard receives a signal.

    Returns:
        The command's exit status; 128 plus the signal that ended it, as in a shell.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: types.FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # the parent of every descendant whose parent ends
    process = subprocess.Popen(
        program, process_group=0, close_fds=False, preexec_fn=lambda: _limit(memory)
    )
    try:
        while process.poll() is None and is_running(owner_pid, owner_started):
            if stop.wait(POLL_INTERVAL):
                break
    finally:
        end_group(process, grace)
        _kill_descendants()
        shutil.rmtree(scratch, ignore_errors=True)
    status = process.returncode
    return status if status >= 0 else 128 - status


def _limit(memory: int) -> None:
    """In the new process: end with the guard, dump no secrets, use so much memory at most."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def is_running(pid: int, started: float) -> bool:
    """Whether the process still runs; a later one with the same id does not count."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < START_TOLERANCE
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_group(process: subprocess.Popen[bytes], grace: float = GRACE_PERIOD) -> None:
    """End every process of a group: SIGTERM first, SIGKILL after ``grace`` seconds.

    The group may outlive its first process: vLLM's other processes free the shared memory.
    """
    _signal_group(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while _group_exists(process) and time.monotonic() < deadline:
        time.sleep(EXIT_POLL_INTERVAL)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _kill_descendants() -> None:
    """Kill what left the group, whose processes nobody knows."""
    while descendants := psutil.Process().children(recursive=True):
        for descendant in descendants:
            with suppress(psutil.NoSuchProcess):
                descendant.kill()
        psutil.wait_procs(descendants, timeout=EXIT_POLL_INTERVAL)


def _group_exists(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # reaps the first process, which otherwise stays in the group as a zombie
    return _signal_group(process.pid, 0)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    _, pid, started, folder, wait, limit, _, *given = sys.argv
    sys.exit(main(int(pid), float(started), folder, float(wait), int(limit), given))
