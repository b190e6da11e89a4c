"""Everything that takes part in the chaos: each a process of its own, as in production."""

import os
import random
import time
from contextlib import ExitStack
from pathlib import Path
from secrets import token_urlsafe
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx
import redis
import wandb
import yaml
from pydantic import HttpUrl, SecretStr

from bus.connection import connect
from bus.inbox import Inbox
from bus.ledger import Ledger
from bus.liveness import live_workers
from local_wandb.config import LocalWandbConfig, Webhook
from local_wandb.environment import client_environment
from local_wandb.process import LocalWandb
from registry.helper_process import end_helper_process
from rehearsal.processes import Processes
from rehearsal.redis_server import RedisServer, free_port
from schemas.errors import PlatformError
from schemas.refs import REGISTRY_PREFIX
from tests.chaos.app_team import CHAT_MODELS, RAG_MODELS
from tests.chaos.exam import EVALUATION, GATE, METRIC, PASS_MARK
from tests.chaos.supervisor import Supervisor
from tests.faulty_network import FaultyNetwork

ENGINE, WEBHOOK = "engine", "webhook"
POLLERS, EVENTS_WORKERS, GPU_WORKERS = (
    [f"{kind} {number}" for number in (1, 2)] for kind in ("poller", "events worker", "gpu worker")
)
ALIAS = "production"

_COLLECTIONS = ("one", "another")

_UNLUCKY = 0.15  # share of the webhooks that are dropped, and as many are doubled
_READY_WITHIN = 120.0  # seconds
_LOOK = 0.2  # seconds
_LONGEST_PAUSE = 4.0  # seconds that a dead process stays dead
_SLOW = 2.0  # seconds that a request takes when W&B is slow

# Seconds. Short, so that much goes wrong in little time; many attempts, so that no version runs out
# of them by bad luck.
_SETTINGS = {
    "WEIGHBRIDGE_RETRY_DELAY": "1",
    "WEIGHBRIDGE_MAX_RETRY_DELAY": "5",
    "WEIGHBRIDGE_MAX_ATTEMPTS": "40",
    "WEIGHBRIDGE_WANDB_TIMEOUT": "5",
    "WEIGHBRIDGE_POLL_INTERVAL": "2",
    "WEIGHBRIDGE_FULL_SCAN_INTERVAL": "15",
    "WEIGHBRIDGE_BACKFILL": "all",
}


class Stage(NamedTuple):
    """A set stage.

    Attributes:
        collections: that the pushers link to.
        target: collection that versions are promoted to.
        pushers: plain programs, which talk to W&B by a good network.
        supervisor: of the processes that may be killed.
        network: between them and W&B.
        api: of W&B, by a good network.
    """

    folder: Path
    collections: list[str]
    target: str
    pushers: Processes
    supervisor: Supervisor
    redis: RedisServer
    network: FaultyNetwork
    ledger: Ledger
    inbox: Inbox
    api: wandb.Api


class _Servers(NamedTuple):
    redis: RedisServer
    wandb: LocalWandb
    network: FaultyNetwork
    webhook: Webhook

    @property
    def registries(self) -> str:
        """Of the organisation: what a registry's name is appended to."""
        return f"{self.wandb.config.org}/{REGISTRY_PREFIX}"


def set_up(
    folder: Path, stack: ExitStack, dice: random.Random, versions: int, lease: float
) -> Stage:
    """Start everything but the pushers.

    Args:
        folder: new; holds everything that they leave.
        stack: ends all of them, in reverse order.
        dice: decides which webhooks are dropped or doubled, and how long the dead stay dead.
        versions: how many will be linked.
        lease: seconds.
    """
    servers = _start_servers(folder, stack, dice, versions)
    here = _environment(servers, stack)
    good = servers.wandb.environment(folder / "pushers")
    pushers = stack.enter_context(Processes(folder / "logs", here | good))
    pushers.run("app team", ["-m", "tests.chaos.app_team"])
    ours = here | _our_environment(folder, servers, lease)
    supervisor = stack.enter_context(
        Supervisor(folder / "processes", ours, lambda: dice.uniform(0, _LONGEST_PAUSE))
    )
    _start(supervisor, folder, ours["WEIGHBRIDGE_ENGINE_URL"])
    client = stack.enter_context(connect(servers.redis.url))
    _wait_until_ready(supervisor, client, servers.webhook)
    stack.callback(end_helper_process)
    key, url = servers.wandb.api_key, servers.wandb.url
    return Stage(
        folder=folder,
        collections=[f"{servers.registries}{CHAT_MODELS}/{name}" for name in _COLLECTIONS],
        target=f"{servers.registries}{RAG_MODELS}/RAG Model",
        pushers=pushers,
        supervisor=supervisor,
        redis=servers.redis,
        network=servers.network,
        ledger=Ledger(client, lease),
        inbox=Inbox(client, lease),
        api=wandb.Api(overrides={"base_url": url}, api_key=key),
    )


def _start_servers(folder: Path, stack: ExitStack, dice: random.Random, versions: int) -> _Servers:
    server = stack.enter_context(RedisServer(folder / "redis"))
    webhook = _webhook(dice, versions)
    config = LocalWandbConfig(data_dir=folder / "wandb", webhook=webhook)
    local_wandb = stack.enter_context(LocalWandb(config))
    network = stack.enter_context(FaultyNetwork(local_wandb.url, dice.randrange(2**32)))
    network.delay = _SLOW
    return _Servers(server, local_wandb, network, webhook)


def _webhook(dice: random.Random, versions: int) -> Webhook:
    numbers = range(1, versions + 1)
    unlucky = dice.sample(numbers, k=2 * round(versions * _UNLUCKY))
    return Webhook(
        url=HttpUrl(f"http://127.0.0.1:{free_port()}/webhook"),
        token=SecretStr(token_urlsafe(16)),
        secret=SecretStr(token_urlsafe(32)),
        registry=f"{REGISTRY_PREFIX}{CHAT_MODELS}",
        drop_deliveries=frozenset(unlucky[::2]),
        double_deliveries=frozenset(unlucky[1::2]),
    )


def _environment(servers: _Servers, stack: ExitStack) -> dict[str, str]:
    return {
        **os.environ,
        "CHAOS_ORG": servers.wandb.config.org,
        "HF_HUB_OFFLINE": "1",
        # The SDKs leave temporary folders behind when they are ended at once.
        "TMPDIR": stack.enter_context(TemporaryDirectory(prefix="wb-", ignore_cleanup_errors=True)),
    }


def _our_environment(folder: Path, servers: _Servers, lease: float) -> dict[str, str]:
    webhook = servers.webhook
    assert webhook.token
    assert webhook.secret
    return {
        **client_environment(servers.wandb.config, servers.network.url, folder / "clients"),
        **_SETTINGS,
        "CELERY_BROKER_URL": servers.redis.url,
        "REMAP_SIGTERM": "SIGQUIT",  # Celery: end at once, not when the task is done
        "WEIGHBRIDGE_GATES": str(_write_gates(folder, servers)),
        "WEIGHBRIDGE_LEASE": str(lease),
        "WEIGHBRIDGE_CACHE_DIR": str(folder / "cache"),
        "WEIGHBRIDGE_REPORT_DIR": str(folder / "reports"),
        "WEIGHBRIDGE_ENGINE_URL": f"http://127.0.0.1:{free_port()}/v1",
        "WEIGHBRIDGE_WEBHOOK_PORT": str(webhook.url.port),
        "WEIGHBRIDGE_WEBHOOK_TOKEN": webhook.token.get_secret_value(),
        "WEIGHBRIDGE_WEBHOOK_SECRET": webhook.secret.get_secret_value(),
    }


def _write_gates(folder: Path, servers: _Servers) -> Path:
    config = servers.wandb.config
    objects = f"weave:///{config.entity}/{config.project}/object"
    gate: dict[str, Any] = {
        "name": GATE,
        "watch": [f"{servers.registries}{CHAT_MODELS}/*"],
        "rag_model": f"{objects}/RagModel:v0",
        "evaluation": f"{objects}/{EVALUATION}:v0",
        "thresholds": [{"metric": METRIC, "at_least": PASS_MARK}],
        "promote": {"to": f"{servers.registries}{RAG_MODELS}/RAG Model", "aliases": [ALIAS]},
    }
    path = folder / "gates.yaml"
    path.write_text(yaml.safe_dump({"gates": [gate]}))
    return path


def _start(supervisor: Supervisor, folder: Path, engine_url: str) -> None:
    port = str(HttpUrl(engine_url).port)
    supervisor.start(ENGINE, ["-m", "tests.chaos.stand_in_engine", port])
    supervisor.start(WEBHOOK, ["-m", "weighbridge", "webhook"])
    for name in POLLERS:
        supervisor.start(name, ["-m", "weighbridge", "poll"])
    for queue, names in (("events", EVENTS_WORKERS), ("gpu", GPU_WORKERS)):
        for name in names:
            run_dir = str(folder / "run" / name)
            arguments = ["-m", "weighbridge", "worker", f"--queues={queue}"]
            supervisor.start(name, arguments, WEIGHBRIDGE_RUN_DIR=run_dir)


def _wait_until_ready(supervisor: Supervisor, client: redis.Redis, webhook: Webhook) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while len(live_workers(client)) < len(EVENTS_WORKERS + GPU_WORKERS) or not _answers(webhook):
        supervisor.tend()
        if supervisor.deaths or time.monotonic() > deadline:
            raise PlatformError(f"Not everybody started: {dict(supervisor.deaths)}.")
        time.sleep(_LOOK)


def _answers(webhook: Webhook) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{webhook.url.port}/healthz").is_success
    except httpx.TransportError:
        return False
