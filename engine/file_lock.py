"""Locks between processes: many may share one, or one has it alone.

flock(2): a lock ends with its process, and holds on a shared filesystem, too.
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
    """Hold a lock until the block is left.

    Args:
        file: The lock file; it is made, and stays: a removed one could be locked beside its
            successor.
        shared: Together with others that share it; else alone.
        on_progress: Hears ``waiting`` when another process must be waited for.
        waiting: What is waited for, as a sentence.

    Yields:
        The open file: a child that inherits it keeps the lock.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    file.parent.mkdir(parents=True, exist_ok=True)
    # Opened for reading and writing: a lock over NFS needs both.
    with file.open("a+") as lock:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress(waiting)
            fcntl.flock(lock, kind)
        yield lock
