"""Sentinels that watch a Redis, and a replica that they turn to when it is gone."""

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
OWN_PASSWORD = "guards"

_PATIENCE = 20.0  # seconds
_GONE_AFTER, _AGAIN_AFTER = 500, 1000  # milliseconds; the second, where they did not agree


@contextmanager
def watched(server: RedisServer, folder: Path) -> Iterator[tuple[int, int]]:
    """Ports of two that watch the server as `MASTER`, with a password of their own."""
    with ExitStack() as stack:
        ports = (free_port(), free_port())
        for port in ports:
            file = folder / f"{port}.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {folder}\nrequirepass {OWN_PASSWORD}\n"
                f"sentinel monitor {MASTER} 127.0.0.1 {server.port} 1\n"
                f'sentinel auth-pass {MASTER} "{_password(server)}"\n'
                f"sentinel down-after-milliseconds {MASTER} {_GONE_AFTER}\n"
                f"sentinel failover-timeout {MASTER} {_AGAIN_AFTER}\n"
            )
            log = folder / f"{port}.log"
            command = [str(executable()), str(file), "--sentinel", "--logfile", str(log)]
            process = subprocess.Popen(command, start_new_session=True)
            stack.enter_context(stop_on_exit(process))
            wait_until(partial(_listens, port), process, "Sentinel", log, _PATIENCE)
        yield ports


@contextmanager
def followed(server: RedisServer, folder: Path) -> Iterator[redis.Redis]:
    """A client of a second Redis, which has what the server has."""
    password = _password(server)
    with (
        RedisServer(folder / "replica", password=password) as replica,
        redis.Redis.from_url(replica.url, decode_responses=True) as client,
        redis.Redis.from_url(server.url) as master,
    ):
        for one in (client, master):  # either may have to follow the other
            one.config_set("masterauth", password)
        client.replicaof("127.0.0.1", server.port)
        wait_for(lambda: client.info("replication")["master_link_status"] == "up", _PATIENCE)
        yield client


def _password(server: RedisServer) -> str:
    return urlsplit(server.url).password or ""


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
