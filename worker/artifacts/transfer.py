"""Fetches the files of an artifact version, and goes on where a cut transfer stopped.

The SDK says what there is and where it lies; the bytes are fetched here. Its own download() keeps
a second copy of each file and begins a cut one anew. With `skip_cache=True`, wandb 0.31 has each
later download of the process write into the file that the one before wrote last (measured;
https://github.com/wandb/wandb/pull/12383).
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from http import HTTPStatus
from pathlib import Path

import requests
import wandb

from schemas.errors import PlatformError
from engine.file_rules import ListedFile
from engine.options import OnProgress
from worker.artifacts.version_cache import is_there, size_of

_CONNECTIONS = 8
_CHUNK = 2**20  # bytes
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two pieces of an answer
# Seconds before each attempt at a file; after the last one the weighing itself is tried again.
_DELAYS = (0.0, 1.0, 2.0, 4.0, 8.0)
_TELL_EVERY = 5.0  # seconds
_PAGE = 1000  # files that one answer of W&B lists


def fetch(artifact: wandb.Artifact, files: Sequence[ListedFile], folder: Path, on_progress: OnProgress) -> None:
    """Fetch the files that a folder lacks, or has only in part.

    Args:
        artifact: A logged version.
        files: What it has, by safe paths.
        folder: Where they go.
        on_progress: Hears how much is there, as "12 of 259 MB".

    Raises:
        PlatformError: A file did not arrive; the next call goes on from what did.
    """
    missing = [file for file in files if not is_there(file, folder)]
    if not missing:
        return
    with requests.Session() as session, ThreadPoolExecutor(_CONNECTIONS) as pool:
        transfer = _Transfer(artifact, folder, session)
        on_progress(_progress(files, folder))
        pending = {pool.submit(transfer.fetch, file) for file in missing}
        try:
            _watch(pending, lambda: on_progress(_progress(files, folder)))
        finally:
            transfer.cancel()
            pool.shutdown(cancel_futures=True)


def _watch(pending: set[Future[None]], on_progress: Callable[[], None]) -> None:
    while pending:
        done, pending = wait(pending, timeout=_TELL_EVERY, return_when=FIRST_EXCEPTION)
        for one in done:
            one.result()
        on_progress()


def _progress(files: Sequence[ListedFile], folder: Path) -> str:
    here = sum(size_of(folder / file.path) for file in files)
    return f"{here / 1e6:.0f} of {sum(file.size for file in files) / 1e6:.0f} MB"


class _Transfer:
    """Fetches files of one version, each in a thread."""

    def __init__(self, artifact: wandb.Artifact, folder: Path, session: requests.Session) -> None:
        self._artifact = artifact
        self._folder = folder
        self._session = session
        self._cancelled = threading.Event()
        self._addresses = {one.name: one.direct_url for one in artifact.files(per_page=_PAGE)}

    def cancel(self) -> None:
        """Have every thread stop soon."""
        self._cancelled.set()

    def fetch(self, file: ListedFile) -> None:
        """Fetch a file whole, in several attempts if need be.

        Raises:
            PlatformError: It did not arrive.
        """
        path, reason = self._folder / file.path, "the server sent no more"
        path.parent.mkdir(parents=True, exist_ok=True)
        for delay in _DELAYS:
            if self._cancelled.wait(delay):
                return
            try:
                self._go_on(path, file)
            except requests.RequestException as error:
                reason = _why(error)
                self._addresses.pop(file.path, None)  # it may have expired
            if is_there(file, self._folder):
                return
        raise PlatformError(
            f"Of {file.path}, {size_of(path)} of {file.size} bytes arrived: {reason}.",
            fix="The next attempt goes on from there.",
        )

    def _go_on(self, path: Path, file: ListedFile) -> None:
        if size_of(path) > file.size:
            path.unlink()
        path.touch()
        if is_there(file, self._folder):
            return
        headers = {"Range": f"bytes={size_of(path)}-", "Accept-Encoding": "identity"}
        with self._session.get(
            self._address(file), headers=headers, stream=True, timeout=_TIMEOUT
        ) as answer:
            answer.raise_for_status()
            # A server that knows no ranges sends the whole file.
            mode = "ab" if answer.status_code == HTTPStatus.PARTIAL_CONTENT else "wb"
            with path.open(mode) as written:
                for chunk in answer.iter_content(_CHUNK):
                    written.write(chunk)
                    if self._cancelled.is_set() or written.tell() > file.size:
                        return

    def _address(self, file: ListedFile) -> str:
        """Where the bytes are: signed, and good for some time only."""
        if file.path not in self._addresses:
            for one in self._artifact.files(names=[file.path], per_page=1):
                self._addresses[one.name] = one.direct_url
        if file.path not in self._addresses:
            raise PlatformError(f"W&B does not say where {file.path} is.")
        return str(self._addresses[file.path])


def _why(error: requests.RequestException) -> str:
    # In words of our own: the error's would put a signed address into the verdict.
    if error.response is not None:
        return f"HTTP {error.response.status_code}"
    return type(error).__name__
