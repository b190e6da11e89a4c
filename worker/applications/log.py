"""The log of an application: what it prints, of which the newest part is kept."""

import os
import threading
from pathlib import Path

LIMIT = 50 * 2**20
"""Bytes; when a log is longer, its older half goes."""

_CHUNK = 2**16
_LAST_LINES = 12
_KEPT_LOGS = 50


class ApplicationLog:
    """Copies what a process prints into a file.

    Args:
        path: The file; what it held is replaced.
        limit: Longest file in bytes.

    Attributes:
        path: The file.
        writer: The end of a pipe that the process prints to.
    """

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _delete_oldest(path.parent)
        self.path = path
        self._limit = limit
        self._file = path.open("wb+")
        reader, self.writer = os.pipe()
        self._thread = threading.Thread(
            target=self._copy, args=(reader,), name="application log", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Wait until all that was printed is in the file; the process must have ended."""
        os.close(self.writer)
        self._thread.join()

    def last_lines(self) -> str:
        """The end of the log."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - _CHUNK))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])

    def _copy(self, reader: int) -> None:
        with os.fdopen(reader, "rb", buffering=0) as source, self._file:
            while chunk := source.read(_CHUNK):
                self._file.write(chunk)
                self._file.flush()
                if self._file.tell() > self._limit:
                    self._drop_older_half()

    def _drop_older_half(self) -> None:
        self._file.seek(-(self._limit // 2), os.SEEK_END)
        newer = self._file.read()
        self._file.seek(0)
        self._file.write(newer)
        self._file.truncate()


def _delete_oldest(folder: Path) -> None:
    logs = sorted(folder.glob("*.log"), key=lambda log: log.stat().st_mtime)
    for log in logs[: -_KEPT_LOGS + 1]:
        log.unlink(missing_ok=True)
