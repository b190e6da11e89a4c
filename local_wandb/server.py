"""Serves the application until it receives a signal."""

import logging
import os
import shlex
import socket

import click
import uvicorn

from local_wandb.app import create_app
from local_wandb.config import LocalWandbConfig, is_loopback
from local_wandb.environment import client_environment
from local_wandb.running import Running, running_file, save_port

#: Seconds in which open requests may finish after a signal.
GRACE_S = 5

#: Variables that are not printed for a shell: there W&B's messages are useful, and downloads
#: belong in the current folder.
NOT_EXPORTED = (
    "WANDB_SILENT",
    "WEAVE_PRINT_CALL_LINK",
    "WEAVE_LOG_LEVEL",
    "WANDB_ARTIFACT_DIR",
)


def serve(config: LocalWandbConfig) -> None:
    """Serve until SIGTERM or SIGINT; open requests may finish.

    Raises:
        MissingResolverError: A field of the GraphQL schema has no resolver.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if not is_loopback(config.host):
        click.echo(f"WARNING: {config.host} can be reached from other machines, unencrypted")
    _Server(config).run()


class _Server(uvicorn.Server):
    """Publishes the server's address while it accepts requests."""

    def __init__(self, config: LocalWandbConfig) -> None:
        self._local = config
        super().__init__(
            uvicorn.Config(
                create_app(config),
                host=config.host,
                port=config.port,
                log_level="warning",
                timeout_graceful_shutdown=GRACE_S,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            save_port(self._local.data_dir, port)
            _publish_address(self._local, _url(self._local.host, port))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Not after run(): uvicorn raises the signal that stopped it again, which ends the process.
        running_file(self._local.data_dir).unlink(missing_ok=True)
        await super().shutdown(sockets)


def _url(host: str, port: int) -> str:
    reached = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - a comparison
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def _publish_address(config: LocalWandbConfig, url: str) -> None:
    file = running_file(config.data_dir)
    partial = file.with_suffix(".partial")
    partial.write_text(Running(url=url, pid=os.getpid()).model_dump_json())
    partial.replace(file)
    click.echo(f"listening on {url}, data in {config.data_dir}")
    environment = client_environment(config, url, config.data_dir / "client")
    for name, value in environment.items():
        if name not in NOT_EXPORTED:
            click.echo(f"export {name}={shlex.quote(value)}")
