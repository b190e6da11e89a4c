"""Downloads the files of an artifact version, and resumes interrupted transfers.

The SDK lists the files and their URLs; this module downloads the bytes. The SDK's own
``download()`` keeps a second copy of each file and restarts an interrupted one. With
``skip_cache=True``, each later download of a wandb 0.31 process writes into the last file of the
previous download (measured; https://github.com/wandb/wandb/pull/12383).
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from http import HTTPStatus
from pathlib import Path

import requests
import wandb

from engine.file_rules import ListedFile
from engine.options import OnProgress
from schemas.errors import PlatformError
from worker.artifacts.version_cache import is_complete, size_of

_CONNECTIONS = 8
_CHUNK = 2**20  # bytes
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two reads
# Seconds before each attempt at a file; after the last one, the weighing itself is retried.
_DELAYS = (0.0, 1.0, 2.0, 4.0, 8.0)
_REPORT_INTERVAL = 5.0  # seconds
_PAGE = 1000  # files per page of W&B's file list


def fetch(
    artifact: wandb.Artifact, files: Sequence[ListedFile], folder: Path, on_progress: OnProgress
) -> None:
    """Download the files that are missing or incomplete in a folder.

    Args:
        artifact: A logged version.
        files: Its files; their paths have been checked.
        folder: The destination.
        on_progress: Receives the progress, as "12 of 259 MB".

    Raises:
        PlatformError: A file did not arrive; the next call resumes the download.
    """
    missing = [file for file in files if not is_complete(file, folder)]
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
        done, pending = wait(pending, timeout=_REPORT_INTERVAL, return_when=FIRST_EXCEPTION)
        for one in done:
            one.result()
        on_progress()


def _progress(files: Sequence[ListedFile], folder: Path) -> str:
    present = sum(size_of(folder / file.path) for file in files)
    return f"{present / 1e6:.0f} of {sum(file.size for file in files) / 1e6:.0f} MB"


class _Transfer:
    """Downloads files of one version, each in a thread."""

    def __init__(self, artifact: wandb.Artifact, folder: Path, session: requests.Session) -> None:
        self._artifact = artifact
        self._folder = folder
        self._session = session
        self._cancelled = threading.Event()
        self._urls = {one.name: one.direct_url for one in artifact.files(per_page=_PAGE)}

    def cancel(self) -> None:
        """Tell every thread to stop."""
        self._cancelled.set()

    def fetch(self, file: ListedFile) -> None:
        """Download a whole file, in several attempts if necessary.

        Raises:
            PlatformError: It did not arrive.
        """
        path, reason = self._folder / file.path, "the server sent no more data"
        path.parent.mkdir(parents=True, exist_ok=True)
        for delay in _DELAYS:
            if self._cancelled.wait(delay):
                return
            try:
                self._resume(path, file)
            except requests.RequestException as error:
                reason = _reason(error)
                self._urls.pop(file.path, None)  # the URL may have expired
            if is_complete(file, self._folder):
                return
        raise PlatformError(
            f"Only {size_of(path)} of {file.size} bytes of {file.path} arrived: {reason}.",
            fix="Wait for the next attempt, which resumes the download.",
        )

    def _resume(self, path: Path, file: ListedFile) -> None:
        if size_of(path) > file.size:
            path.unlink()
        path.touch()
        if is_complete(file, self._folder):
            return
        headers = {"Range": f"bytes={size_of(path)}-", "Accept-Encoding": "identity"}
        with self._session.get(
            self._url(file), headers=headers, stream=True, timeout=_TIMEOUT
        ) as response:
            response.raise_for_status()
            # A server without range support sends the whole file.
            mode = "ab" if response.status_code == HTTPStatus.PARTIAL_CONTENT else "wb"
            with path.open(mode) as output:
                for chunk in response.iter_content(_CHUNK):
                    output.write(chunk)
                    if self._cancelled.is_set() or output.tell() > file.size:
                        return

    def _url(self, file: ListedFile) -> str:
        """Return the file's signed URL, which expires."""
        if file.path not in self._urls:
            for one in self._artifact.files(names=[file.path], per_page=1):
                self._urls[one.name] = one.direct_url
        if file.path not in self._urls:
            raise PlatformError(f"W&B returned no URL for {file.path}.")
        return str(self._urls[file.path])


def _reason(error: requests.RequestException) -> str:
    # Not the error's own message, which would put a signed URL into the verdict.
    if error.response is not None:
        return f"HTTP {error.response.status_code}"
    return type(error).__name__
