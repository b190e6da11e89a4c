"""Makes the private folder of an engine, where its Unix sockets and temporary files are."""

import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from schemas.errors import ConfigurationError

# Bytes in the path of a Unix socket: 107 on Linux, 103 on macOS.
_LONGEST_PATH = 103
# Bytes in the name of the longest socket: vLLM names its own by a UUID.
_LONGEST_NAME = 36
_PREFIX = "wb-engine-"
# mkdtemp adds eight characters to the prefix; the rest are two slashes.
_LONGEST_PARENT = _LONGEST_PATH - _LONGEST_NAME - len(_PREFIX) - 8 - 2


def make_private_folder() -> Path:
    """Make a folder that only this user can enter, with a path short enough for sockets.

    It is made in the usual temporary folder (``TMPDIR``). If sockets cannot be opened there, for
    instance because its path is too long, ``/tmp`` and then ``XDG_RUNTIME_DIR`` are tried.

    Returns:
        An empty folder with mode 0700.

    Raises:
        ConfigurationError: No folder is usable; the message says why for each.
    """
    refusals = []
    for parent in _parents():
        try:
            return _make_in(parent)
        except OSError as error:
            refusals.append(f"{parent} (a path of {len(os.fsencode(parent))} bytes): {error}")
    raise ConfigurationError(
        f"There is no folder for the engine's Unix sockets: {'; '.join(refusals)}.",
        fix="Set TMPDIR to a folder on a local disk, writable by this user, whose path has at most"
        f" {_LONGEST_PARENT} bytes.",
    )


def _parents() -> list[Path]:
    # systemd removes XDG_RUNTIME_DIR when the user logs out, so it comes last.
    candidates = (tempfile.gettempdir(), "/tmp", os.environ.get("XDG_RUNTIME_DIR"))  # noqa: S108
    return list(dict.fromkeys(Path(folder) for folder in candidates if folder))


def _make_in(parent: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        _check_private(folder)
        _check_sockets(folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _check_private(folder: Path) -> None:
    """Check the owner and the mode, which some file systems do not keep."""
    status = folder.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != stat.S_IRWXU:
        raise PermissionError("other users can enter a folder made there")


def _check_sockets(folder: Path) -> None:
    """Open the longest socket: this checks the length and the file system."""
    longest = folder / ("x" * _LONGEST_NAME)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(str(longest))
    longest.unlink()
