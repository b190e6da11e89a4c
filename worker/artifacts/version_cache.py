"""Downloaded versions by digest, in one folder that all workers of a machine may share.

    versions/<digest>           complete: every byte is there, and was verified
    versions/<digest>.partial   what a download has so far; the next one goes on from there
    versions/<digest>.lock      shared by who uses the version, alone for who changes it; its time
                                is that of the last use

Lock files stay when their version goes (``lock``).
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from engine.file_rules import ListedFile
from engine.file_lock import locked
from engine.options import OnProgress

_WAITING = "waiting for another process that downloads this version"

log = structlog.get_logger()


class VersionCache:
    """Keeps versions up to a size, the latest used ones first.

    Args:
        folder: Holds them; made when missing.
        max_bytes: What they may have together. Versions in use stay, even when they have more.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @contextmanager
    def holding(
        self, digest: str, files: Sequence[ListedFile], fetch: Callable[[Path], None], on_progress: OnProgress
    ) -> Iterator[Path]:
        """Have a version, and keep it until the block is left.

        Of several processes that want it at once, one fetches it and the others wait.

        Args:
            digest: Names the version.
            files: What it has.
            fetch: Completes a folder that may hold some of the files, or parts of them, and
                verifies it. Whatever it raises leaves the version incomplete.
            on_progress: Hears when another process must be waited for.

        Yields:
            The version's folder.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lock, folder = self._lock(digest), self._folder / digest
        while True:
            with locked(lock, shared=True, on_progress=on_progress, waiting=_WAITING):
                if _is_whole(folder, files):
                    with _used(lock):
                        yield folder
                    return
            with locked(lock, on_progress=on_progress, waiting=_WAITING):
                # Another process may have fetched it while this one waited.
                if not _is_whole(folder, files):
                    self._complete(digest, files, fetch)

    def _complete(
        self, digest: str, files: Sequence[ListedFile], fetch: Callable[[Path], None]
    ) -> None:
        folder, partial = self._folder / digest, self._partial(digest)
        if folder.exists():  # somebody damaged it
            shutil.rmtree(partial, ignore_errors=True)
            folder.rename(partial)
        self._make_room(digest, sum(file.size for file in files))
        partial.mkdir(exist_ok=True)
        _stamp(self._lock(digest))
        fetch(partial)
        partial.rename(folder)

    def _make_room(self, digest: str, size: int) -> None:
        """Remove the longest unused others until ``size`` more bytes fit."""
        others = set(self._folder.glob("*.lock")) - {self._lock(digest)}
        sizes = {lock: self._bytes_of(lock.stem) for lock in others}
        excess = sum(sizes.values()) + size - self._max_bytes
        for lock in sorted(others, key=lambda lock: lock.stat().st_mtime):
            if excess <= 0:
                return
            if sizes[lock] and self._remove(lock):
                excess -= sizes[lock]

    def _remove(self, lock: Path) -> bool:
        """Remove a version, unless a process uses it."""
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            folder, partial = self._folder / lock.stem, self._partial(lock.stem)
            shutil.rmtree(partial, ignore_errors=True)
            if folder.exists():
                # So that an interrupted removal leaves nothing that looks complete.
                folder.rename(partial)
                shutil.rmtree(partial, ignore_errors=True)
        log.info("version removed from the cache", digest=lock.stem)
        return True

    def _bytes_of(self, digest: str) -> int:
        return sum(
            size_of(Path(folder) / name)
            for top in (self._folder / digest, self._partial(digest))
            for folder, _, names in os.walk(top)  # which bears that it is removed meanwhile
            for name in names
        )

    def _lock(self, digest: str) -> Path:
        return self._folder / f"{digest}.lock"

    def _partial(self, digest: str) -> Path:
        return self._folder / f"{digest}.partial"


def size_of(file: Path) -> int:
    """A file's size in bytes; 0 when there is none (any more)."""
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def is_there(file: ListedFile, folder: Path) -> bool:
    """Whether a folder has a file in its full size."""
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.size


def _is_whole(folder: Path, files: Sequence[ListedFile]) -> bool:
    # Only complete folders have this name; this is against what happened to them since.
    return folder.is_dir() and all(is_there(file, folder) for file in files)


@contextmanager
def _used(lock: Path) -> Iterator[None]:
    _stamp(lock)
    try:
        yield
    finally:
        _stamp(lock)


def _stamp(lock: Path) -> None:
    now = time.time_ns()  # by itself, a file system takes a coarser clock
    os.utime(lock, ns=(now, now))
