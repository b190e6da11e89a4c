"""Reads the engine's log: progress while it starts, the reason when it fails."""

import re
from pathlib import Path

# "(EngineCore pid=8460) INFO 11-20 14:51:44 [core.py:133] " before every message of vLLM's.
_PREFIX = re.compile(r"^(\(\w[^)]*\) )?([A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^]]+\]\s?)?")
# vLLM's information less its list of routes and its banner, and the bar of a long load.
_PROGRESS = re.compile(r"^\(\w[^)]*\) INFO .*?\] (?!Route)[A-Za-z]|^Loading .*\|")
# "ValueError: ...", "Value error, ..." (pydantic's), "torch.OutOfMemoryError: ..."
_ERROR = re.compile(r"^\s*[\w. ]*([Ee]rror|Exception)[:,] \S")
_LONGEST_MESSAGE = 300


class LogTail:
    """The lines that are added to a log while it is read.

    Args:
        file: The log.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0

    def progress(self) -> list[str]:
        """The messages since the last call that tell a reader how far the engine is."""
        with self._file.open("rb") as stream:
            stream.seek(self._read)
            complete = stream.read().rpartition(b"\n")[0]
        self._read += len(complete)
        lines = complete.decode(errors="replace").splitlines()
        return [_message(line) for line in lines if _PROGRESS.match(line)]


def last_errors(file: Path, count: int = 3) -> str:
    """The engine's own words for what went wrong.

    Args:
        file: The engine's log.
        count: How many messages at most.

    Returns:
        The last different error messages, or the last lines where there are none, joined by " | ".
    """
    lines = [_message(line) for line in file.read_text(errors="replace").splitlines()]
    errors = [line for line in lines if _ERROR.match(line)]
    different = list(dict.fromkeys(errors or filter(None, lines)))
    return " | ".join(different[-count:]) or "it wrote no log"


def _message(line: str) -> str:
    return _PREFIX.sub("", line).strip()[:_LONGEST_MESSAGE]
