"""The services of a rehearsal: Redis, the local W&B, the webhook receiver and the workers."""

import os
import shutil
import string
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from secrets import token_urlsafe
from tempfile import TemporaryDirectory
from typing import NamedTuple

import httpx
from pydantic import HttpUrl, SecretStr

from bus.connection import connect
from bus.ledger import Ledger
from local_wandb.config import LocalWandbConfig, Webhook
from local_wandb.process import LocalWandb
from rehearsal.base_model import models_dir
from rehearsal.processes import Processes
from rehearsal.redis_server import free_port, redis_server
from schemas.errors import ConfigurationError
from schemas.refs import REGISTRY_PREFIX

CHAT_MODELS, RAG_MODELS = "RAG Chat Models", "RAG Models"
"""The registries that the two teams share."""

_MARKER = ".weighbridge-rehearsal"  # only a folder with this file may be emptied
_DROPPED_DELIVERY = 2  # the poller has to find this version
_START_TIMEOUT = 60.0  # seconds
_LEASE = 60.0  # seconds; the rehearsal itself only reads the ledger


def prepare_folder(folder: Path) -> None:
    """Create the folder, or delete what an earlier rehearsal left in it.

    Raises:
        ConfigurationError: The folder contains files that no rehearsal left.
    """
    marker = folder / _MARKER
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise ConfigurationError(
            f"{folder} contains files that no rehearsal left there.",
            fix="Name an empty or a new folder with --dir.",
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()


class Services(NamedTuple):
    """The running services of a rehearsal.

    Attributes:
        environment: The environment variables of their clients.
        processes: The services' processes; more can be started.
        ledger: The ledger that the services share.
    """

    environment: dict[str, str]
    processes: Processes
    ledger: Ledger


def start_services(
    folder: Path, stack: ExitStack, *, broker_url: str | None = None, run_dir: Path | None = None
) -> Services:
    """Start Redis, the local W&B, the webhook receiver and the workers.

    Args:
        folder: The folder of all their files.
        stack: Stops all of them, in reverse order.
        broker_url: The URL of a Redis to use; None starts one.
        run_dir: The run folder of the GPU worker, whose running engine is used; None creates one.

    Raises:
        ConfigurationError: The Redis is in use.
        PlatformError: A service did not start.
    """
    broker = broker_url or stack.enter_context(redis_server(folder / "redis"))
    ledger = Ledger(stack.enter_context(connect(broker)), _LEASE)
    if any(ledger.all()):
        raise ConfigurationError(
            "The Redis of CELERY_BROKER_URL already contains weighings.",
            fix="Name an empty database, or unset it: the rehearsal then starts a Redis.",
        )
    receiver = f"http://127.0.0.1:{free_port()}"
    token, secret = token_urlsafe(16), token_urlsafe(32)
    webhook = Webhook(
        url=HttpUrl(f"{receiver}/webhook"),
        token=SecretStr(token),
        secret=SecretStr(secret),
        registry=f"{REGISTRY_PREFIX}{CHAT_MODELS}",
        drop_deliveries=frozenset([_DROPPED_DELIVERY]),
    )
    config = LocalWandbConfig(data_dir=folder / "wandb", webhook=webhook)
    local_wandb = stack.enter_context(LocalWandb(config))
    environment = {
        **os.environ,
        **local_wandb.environment(folder / "clients"),
        "CELERY_BROKER_URL": broker,
        "WEIGHBRIDGE_GATES": str(_write_gates(folder, config)),
        "WEIGHBRIDGE_RUN_DIR": str(run_dir or folder / "run"),
        "WEIGHBRIDGE_CACHE_DIR": str(folder / "cache"),
        "WEIGHBRIDGE_MODELS_DIR": str(models_dir()),
        "WEIGHBRIDGE_REPORT_DIR": str(folder / "reports"),
        "WEIGHBRIDGE_POLL_INTERVAL": "2",
        "WEIGHBRIDGE_WEBHOOK_PORT": str(webhook.url.port),
        "WEIGHBRIDGE_WEBHOOK_TOKEN": token,
        "WEIGHBRIDGE_WEBHOOK_SECRET": secret,
        "WEIGHBRIDGE_REHEARSAL_ORG": config.org,
        # The SDKs leave temporary folders behind when their process is killed.
        "TMPDIR": stack.enter_context(TemporaryDirectory(prefix="wb-", ignore_cleanup_errors=True)),
        "HF_HUB_OFFLINE": "1",
        "REMAP_SIGTERM": "SIGQUIT",  # Celery stops at once, not after its task
    }
    processes = stack.enter_context(Processes(folder / "logs", environment))
    processes.start("webhook receiver", ["-m", "weighbridge", "webhook"])
    processes.start("events worker", ["-m", "weighbridge", "worker", "--queues=events"])
    processes.start("gpu worker", ["-m", "weighbridge", "worker", "--queues=gpu"])
    processes.wait_for("webhook receiver", lambda: _responds(f"{receiver}/healthz"), _START_TIMEOUT)
    return Services(environment, processes, ledger)


def _write_gates(folder: Path, config: LocalWandbConfig) -> Path:
    template = string.Template((files("rehearsal") / "gates.yaml").read_text())
    names = {"ENTITY": config.entity, "PROJECT": config.project, "ORG": config.org}
    path = folder / "gates.yaml"
    path.write_text(template.substitute(names))
    return path


def _responds(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False
