"""A local W&B as a child process."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from local_wandb.config import LocalWandbConfig, Webhook
from local_wandb.environment import client_environment
from local_wandb.running import Running, running_file

#: Seconds until a start has failed. It takes about one, but longer on a busy machine.
START_TIMEOUT_S = 60.0
#: Seconds between SIGTERM and SIGKILL; open requests get ``server.GRACE_S`` of them.
STOP_TIMEOUT_S = 15.0
#: Pause between two checks for ``server.json``, in seconds.
POLL_INTERVAL_S = 0.02


class LocalWandbError(Exception):
    """The child process did not start."""


class LocalWandb:
    """A local W&B in a child process; a context manager that starts and stops it.

    The child holds one end of a pipe to this process and exits when this process ends, even if it
    is killed. The child's output goes to ``data_dir/server.log``.

    Args:
        config: The server's configuration; port 0 is usually the best choice.
    """

    def __init__(self, config: LocalWandbConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        """Start the server and wait until it accepts requests.

        Raises:
            LocalWandbError: The process exited, or did not start within ``START_TIMEOUT_S``.
        """
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    @property
    def config(self) -> LocalWandbConfig:
        """The server's configuration."""
        return self._config

    @property
    def api_key(self) -> str:
        """The API key that clients must send."""
        return self._config.key()

    @property
    def pid(self) -> int | None:
        """The process id while the server runs, otherwise None."""
        return self._process.pid if self._process else None

    def environment(self, folder: Path | None = None) -> dict[str, str]:
        """Return the variables that a client process needs in addition to its environment.

        Args:
            folder: The client's own files; by default ``data_dir/client``.
        """
        return client_environment(
            self._config, self.url, folder or self._config.data_dir / "client"
        )

    def start(self) -> None:
        """Start the server, like ``__enter__``."""
        self._config.data_dir.mkdir(parents=True, exist_ok=True)
        running_file(self._config.data_dir).unlink(missing_ok=True)
        with self._log().open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local_wandb", *_arguments(self._config)],
                env=os.environ | _secrets(self._config),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # ctrl-C stops the parent, which may still need the server
            )
        try:
            self.url = self._wait(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, like ``__exit__``; does nothing if it has already stopped."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._process = None

    def _wait(self, process: subprocess.Popen[bytes]) -> str:
        deadline = time.monotonic() + START_TIMEOUT_S
        file = running_file(self._config.data_dir)
        while not file.exists():
            if process.poll() is not None:
                raise LocalWandbError(f"the local W&B did not start:\n{self._log().read_text()}")
            if time.monotonic() > deadline:
                raise LocalWandbError(f"the local W&B did not start in {START_TIMEOUT_S:.0f} s")
            time.sleep(POLL_INTERVAL_S)
        return Running.model_validate_json(file.read_bytes()).url

    def _log(self) -> Path:
        return self._config.data_dir / "server.log"


def _arguments(config: LocalWandbConfig) -> list[str]:
    named = {
        "--data-dir": str(config.data_dir),
        "--host": config.host,
        "--port": str(config.port),
        "--entity": config.entity,
        "--org": config.org,
        "--project": config.project,
    }
    arguments = [part for pair in named.items() for part in pair] + ["--end-with-parent"]
    if config.allow_remote:
        arguments.append("--allow-remote")
    return arguments + (_webhook_arguments(config.webhook) if config.webhook else [])


def _webhook_arguments(webhook: Webhook) -> list[str]:
    arguments = ["--webhook-url", str(webhook.url), "--webhook-name", webhook.name]
    if webhook.registry:
        arguments += ["--webhook-registry", webhook.registry]
    if not webhook.automation:
        arguments.append("--no-webhook-automation")
    for number in sorted(webhook.drop_deliveries):
        arguments += ["--drop-delivery", str(number)]
    for number in sorted(webhook.double_deliveries):
        arguments += ["--double-delivery", str(number)]
    return arguments


def _secrets(config: LocalWandbConfig) -> dict[str, str]:
    secrets = {"WANDB_API_KEY": config.key()}
    if config.webhook and config.webhook.token:
        secrets["LOCAL_WANDB_WEBHOOK_TOKEN"] = config.webhook.token.get_secret_value()
    if config.webhook and config.webhook.secret:
        secrets["LOCAL_WANDB_WEBHOOK_SECRET"] = config.webhook.secret.get_secret_value()
    return secrets
