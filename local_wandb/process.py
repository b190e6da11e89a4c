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

#: A start takes about a second; a machine that is busy with other work gets more.
START_TIMEOUT_S = 60.0
#: Open requests get `server.GRACE_S` of it.
STOP_TIMEOUT_S = 15.0
#: Pause between two looks at `server.json`, in seconds.
LOOK_S = 0.02


class LocalWandbError(Exception):
    """The child process did not start."""


class LocalWandb:
    """Starts a local W&B with `with`, and ends it at the end of the block.

    The process also ends when this one does, however this one does: it holds the other end of a
    pipe. Its output goes to `data_dir/server.log`.

    Args:
        config: how to start it; port 0 is a good choice.
    """

    def __init__(self, config: LocalWandbConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        """Start, and wait until it accepts requests.

        Raises:
            LocalWandbError: it ended, or took longer than `START_TIMEOUT_S`.
        """
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.stop()

    @property
    def config(self) -> LocalWandbConfig:
        """How it was started."""
        return self._config

    @property
    def api_key(self) -> str:
        """What clients must send."""
        return self._config.key()

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process else None

    def environment(self, folder: Path | None = None) -> dict[str, str]:
        """What a client process needs beside the environment that it has.

        Args:
            folder: for the client's own files; by default `data_dir/client`.
        """
        return client_environment(
            self._config, self.url, folder or self._config.data_dir / "client"
        )

    def start(self) -> None:
        """As `__enter__`."""
        self._config.data_dir.mkdir(parents=True, exist_ok=True)
        running_file(self._config.data_dir).unlink(missing_ok=True)
        with self._log().open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local_wandb", *_arguments(self._config)],
                env=os.environ | _secrets(self._config),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # ctrl-C is for us, who may still need it while we end
            )
        try:
            self.url = self._wait(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """As `__exit__`; nothing happens when it has ended already."""
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
            time.sleep(LOOK_S)
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
