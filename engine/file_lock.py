"""Shared and exclusive locks between processes.

They use flock(2): a lock is released when its process ends, and it works on a shared file system.
"""

import fcntl
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engine.options import OnProgress

_POLL_INTERVAL = 0.1  # seconds
_REPORT_INTERVAL = 10.0  # seconds


@contextmanager
def locked(
    file: Path, *, shared: bool = False, on_progress: OnProgress, waiting: str
) -> Iterator[IO[str]]:
    """Hold a lock until the block ends.

    Args:
        file: The lock file. It is created and never removed: two processes could otherwise hold
            locks on the old file and on the new one.
        shared: Whether other processes may hold a shared lock at the same time.
        on_progress: Receives ``waiting`` every few seconds while another process holds the lock;
            if it raises, waiting ends.
        waiting: The message, such as "waiting for another process to download the base".

    Yields:
        The open file. A child that inherits it keeps the lock.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    file.parent.mkdir(parents=True, exist_ok=True)
    # NFS requires a file that is open for reading and writing.
    with file.open("a+") as lock:
        reported_at = -math.inf
        while not _is_acquired(lock, kind):
            if time.monotonic() > reported_at + _REPORT_INTERVAL:
                reported_at = time.monotonic()
                on_progress(waiting)
            time.sleep(_POLL_INTERVAL)
        yield lock


def _is_acquired(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
