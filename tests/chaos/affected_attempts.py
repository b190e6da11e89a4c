"""Counts the attempts that an outage of Redis has affected."""

from collections.abc import Callable
from pathlib import Path

_TCP_TABLE = Path("/proc/net/tcp")
_LOCAL, _STATE, _QUEUES = 1, 3, 4  # columns
_ESTABLISHED = "01"


def refused_connections(logs: Path, port: int) -> Callable[[], int]:
    """Return a function that counts the connections refused at a port since this call.

    Redis-py names the port in its error, and each of our processes logs that error.

    Args:
        logs: Folder of the processes' logs.
    """
    text = f":{port}. Connection refused".encode()

    sizes = {log: log.stat().st_size for log in logs.iterdir()}
    return lambda: sum(
        text in line for log, size in sizes.items() for line in _lines_after(log, size)
    )


def _lines_after(log: Path, size: int) -> list[bytes]:
    with log.open("rb") as stream:
        stream.seek(size)
        return stream.read().splitlines()


def waiting_clients(port: int) -> int:
    """Count the connections to a port whose requests the server has not read.

    A paused server reads nothing, and accepts nothing: a connection that it has not accepted also
    counts once its client has sent a request.
    """
    rows = [line.split() for line in _TCP_TABLE.read_text().splitlines()[1:]]
    return sum(
        row[_LOCAL].endswith(f":{port:04X}")
        and row[_STATE] == _ESTABLISHED
        and int(row[_QUEUES].partition(":")[2], 16) > 0
        for row in rows
    )
