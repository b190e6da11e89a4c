"""Shared and exclusive locks between processes.

They use flock(2): a lock is released when its process ends, and it works on a shared file system.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engine.options import OnProgress


@contextmanager
def locked(
    file: Path, *, shared: bool = False, on_progress: OnProgress, waiting: str
) -> Iterator[IO[str]]:
    """Hold a lock until the block ends.

    Args:
        file: The lock file. It is created and never removed: two processes could otherwise hold
            locks on the old file and on the new one.
        shared: Whether other processes may hold a shared lock at the same time.
        on_progress: Receives ``waiting`` if another process holds the lock.
        waiting: The message, such as "waiting for another process to download the base".

    Yields:
        The open file. A child that inherits it keeps the lock.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    file.parent.mkdir(parents=True, exist_ok=True)
    # NFS requires a file that is open for reading and writing.
    with file.open("a+") as lock:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress(waiting)
            fcntl.flock(lock, kind)
        yield lock
