"""The files by which other processes find a running server."""

from pathlib import Path

from pydantic import BaseModel

_PORT = "port"
_FIRST_PORT = 8900


class Running(BaseModel):
    """The contents of ``data_dir/server.json``, which exists while a server accepts requests.

    Attributes:
        pid: The server's process id.
    """

    url: str
    pid: int


def running_file(data_dir: Path) -> Path:
    """Return the path of ``server.json`` in a data folder."""
    return data_dir / "server.json"


def save_port(data_dir: Path, port: int) -> None:
    """Save the port of this server for the next start."""
    (data_dir / _PORT).write_text(str(port))


def last_port(data_dir: Path) -> int:
    """Return the port of the last server of this folder, or 8900 if there was none."""
    file = data_dir / _PORT
    return int(file.read_text()) if file.exists() else _FIRST_PORT
