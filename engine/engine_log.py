"""Reads the engine's log: progress during a start, errors after a failure."""

import re
from pathlib import Path

# vLLM's prefix: "(EngineCore pid=8460) INFO 11-20 14:51:44 [core.py:133] "
_PREFIX = re.compile(r"^(\(\w[^)]*\) )?([A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^]]+\]\s?)?")
# vLLM's INFO messages without the list of routes and the banner, and the progress bar of a load.
_PROGRESS = re.compile(r"^\(\w[^)]*\) INFO .*?\] (?!Route)[A-Za-z]|^Loading .*\|")
# "ValueError: ...", "Value error, ..." (pydantic's), "torch.OutOfMemoryError: ..."
_ERROR = re.compile(r"^\s*[\w. ]*([Ee]rror|Exception)[:,] \S")
_LONGEST_MESSAGE = 300


class LogTail:
    """Follows a log file.

    Args:
        file: The log.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0

    def progress(self) -> list[str]:
        """The messages about progress since the last call."""
        with self._file.open("rb") as stream:
            stream.seek(self._read)
            complete = stream.read().rpartition(b"\n")[0]
        self._read += len(complete)
        lines = complete.decode(errors="replace").splitlines()
        return [_message(line) for line in lines if _PROGRESS.match(line)]


def last_errors(file: Path, count: int = 3) -> str:
    """The last error messages in the engine's log.

    Args:
        file: The engine's log.
        count: Largest number of messages.

    Returns:
        The last distinct error messages, or the last lines if there are no errors, joined by " | ".
    """
    lines = [_message(line) for line in file.read_text(errors="replace").splitlines()]
    errors = [line for line in lines if _ERROR.match(line)]
    distinct = list(dict.fromkeys(errors or filter(None, lines)))
    return " | ".join(distinct[-count:]) or "it wrote no log"


def _message(line: str) -> str:
    return _PREFIX.sub("", line).strip()[:_LONGEST_MESSAGE]
