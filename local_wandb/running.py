"""How a server tells other processes that it is there."""

from pathlib import Path

from pydantic import BaseModel

_PORT = "port"
_FIRST_PORT = 8900


class Running(BaseModel):
    """`data_dir/server.json`: there while a server accepts requests.

    Args:
        url: of the server.
        pid: of its process.
    """

    url: str
    pid: int


def running_file(data_dir: Path) -> Path:
    """Where a server says that it accepts requests.

    Args:
        data_dir: of the server.
    """
    return data_dir / "server.json"


def keep_port(data_dir: Path, port: int) -> None:
    """Remember on which port a server of this folder listened."""
    (data_dir / _PORT).write_text(str(port))


def last_port(data_dir: Path) -> int:
    """The port on which the last server of this folder listened; 8900 when there was none."""
    file = data_dir / _PORT
    return int(file.read_text()) if file.exists() else _FIRST_PORT
