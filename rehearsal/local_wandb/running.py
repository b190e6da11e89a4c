"""How a server tells other processes that it is there."""

from pathlib import Path

from pydantic import BaseModel


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
