"""Downloaded versions by digest, in one folder that all workers of a machine can share.

    versions/<digest>           a complete version: every byte is there, and was verified
    versions/<digest>.partial   an incomplete download, which the next one resumes
    versions/<digest>.lock      locked shared to use the version and exclusively to change it; its
                                modification time is that of the last use

A lock file stays when its version is removed (``engine/file_lock.py``).
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from engine.file_lock import locked
from engine.file_rules import ListedFile
from engine.options import OnProgress

_WAITING = "waiting for another process that downloads this version"

log = structlog.get_logger()


class VersionCache:
    """Caches versions up to a total size, and removes the least recently used ones first.

    Args:
        folder: The cache folder; created if it is missing.
        max_bytes: The total size limit. Versions in use are kept even beyond it.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @contextmanager
    def use(
        self,
        digest: str,
        files: Sequence[ListedFile],
        fetch: Callable[[Path], None],
        on_progress: OnProgress,
    ) -> Iterator[Path]:
        """Use a version, and keep it in the cache until the block exits.

        If several processes need it at once, one downloads it and the others wait.

        Args:
            digest: The version's digest.
            files: The version's files.
            fetch: Completes a folder, which may hold some of the files or parts of them, and
                verifies it. If it raises, the version stays incomplete.
            on_progress: Receives a message when another process has the lock.

        Yields:
            The version's folder.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lock, folder = self._lock(digest), self._folder / digest
        while True:
            with locked(lock, shared=True, on_progress=on_progress, waiting=_WAITING):
                if _is_cached(folder, files):
                    with _recorded_use(lock):
                        yield folder
                    return
            with locked(lock, on_progress=on_progress, waiting=_WAITING):
                # Another process may have downloaded it while this one waited.
                if not _is_cached(folder, files):
                    self._complete(digest, files, fetch)

    def _complete(
        self, digest: str, files: Sequence[ListedFile], fetch: Callable[[Path], None]
    ) -> None:
        folder, partial = self._folder / digest, self._partial(digest)
        if folder.exists():  # damaged since it was completed
            shutil.rmtree(partial, ignore_errors=True)
            folder.rename(partial)
        self._make_room(digest, sum(file.size for file in files))
        partial.mkdir(exist_ok=True)
        _touch(self._lock(digest))
        fetch(partial)
        partial.rename(folder)

    def _make_room(self, digest: str, size: int) -> None:
        """Remove other versions, least recently used first, until ``size`` more bytes fit."""
        others = set(self._folder.glob("*.lock")) - {self._lock(digest)}
        sizes = {lock: self._bytes_of(lock.stem) for lock in others}
        excess = sum(sizes.values()) + size - self._max_bytes
        for lock in sorted(others, key=lambda lock: lock.stat().st_mtime):
            if excess <= 0:
                return
            if sizes[lock] and self._remove(lock):
                excess -= sizes[lock]

    def _remove(self, lock: Path) -> bool:
        """Remove a version, unless a process is using it."""
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            folder, partial = self._folder / lock.stem, self._partial(lock.stem)
            shutil.rmtree(partial, ignore_errors=True)
            if folder.exists():
                # So that an interrupted removal leaves no folder that looks complete.
                folder.rename(partial)
                shutil.rmtree(partial, ignore_errors=True)
        log.info("version removed from the cache", digest=lock.stem)
        return True

    def _bytes_of(self, digest: str) -> int:
        return sum(
            size_of(Path(folder) / name)
            for top in (self._folder / digest, self._partial(digest))
            for folder, _, names in os.walk(top)  # tolerates a concurrent removal
            for name in names
        )

    def _lock(self, digest: str) -> Path:
        return self._folder / f"{digest}.lock"

    def _partial(self, digest: str) -> Path:
        return self._folder / f"{digest}.partial"


def size_of(file: Path) -> int:
    """Return a file's size in bytes, or 0 if it does not exist (any more)."""
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def is_complete(file: ListedFile, folder: Path) -> bool:
    """Return whether a folder has a file in its full size."""
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.size


def _is_cached(folder: Path, files: Sequence[ListedFile]) -> bool:
    # Only complete folders have this name, but one may have been damaged since.
    return folder.is_dir() and all(is_complete(file, folder) for file in files)


@contextmanager
def _recorded_use(lock: Path) -> Iterator[None]:
    _touch(lock)
    try:
        yield
    finally:
        _touch(lock)


def _touch(lock: Path) -> None:
    now = time.time_ns()  # the default is a coarser clock
    os.utime(lock, ns=(now, now))
