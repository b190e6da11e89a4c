"""Sentinels that monitor a Redis, and a replica to fail over to."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import redis

from rehearsal.processes import stop_on_exit, wait_until
from rehearsal.redis_server import RedisServer, executable, free_port
from tests.waiting import wait_for

MASTER = "weighing"
SENTINEL_PASSWORD = "guards"

_TIMEOUT = 20.0  # seconds
_DOWN_AFTER, _FAILOVER_TIMEOUT = 500, 1000  # milliseconds


@contextmanager
def watched(server: RedisServer, folder: Path) -> Iterator[tuple[int, int]]:
    """Run two Sentinels with their own password, which monitor the server as `MASTER`.

    Yields:
        Their ports.
    """
    with ExitStack() as stack:
        ports = (free_port(), free_port())
        for port in ports:
            file = folder / f"{port}.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {folder}\nrequirepass {SENTINEL_PASSWORD}\n"
                f"sentinel monitor {MASTER} 127.0.0.1 {server.port} 1\n"
                f'sentinel auth-pass {MASTER} "{_password(server)}"\n'
                f"sentinel down-after-milliseconds {MASTER} {_DOWN_AFTER}\n"
                f"sentinel failover-timeout {MASTER} {_FAILOVER_TIMEOUT}\n"
            )
            log = folder / f"{port}.log"
            command = [str(executable()), str(file), "--sentinel", "--logfile", str(log)]
            process = subprocess.Popen(command, start_new_session=True)
            stack.enter_context(stop_on_exit(process))
            wait_until(partial(_listens, port), process, "Sentinel", log, _TIMEOUT)
        yield ports


@contextmanager
def followed(server: RedisServer, folder: Path) -> Iterator[redis.Redis]:
    """Run a replica of the server.

    Yields:
        A client for it.
    """
    password = _password(server)
    with (
        RedisServer(folder / "replica", password=password) as replica,
        redis.Redis.from_url(replica.url, decode_responses=True) as client,
        redis.Redis.from_url(server.url) as master,
    ):
        for one in (client, master):  # either may become the replica
            one.config_set("masterauth", password)
        client.replicaof("127.0.0.1", server.port)
        wait_for(lambda: client.info("replication")["master_link_status"] == "up", _TIMEOUT)
        yield client


def _password(server: RedisServer) -> str:
    return urlsplit(server.url).password or ""


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
