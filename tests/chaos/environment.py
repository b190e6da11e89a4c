"""The environment of the chaos test: every process that production has, on one machine."""

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
from tests.chaos.dataset import EVALUATION, GATE, METRIC, THRESHOLD
from tests.chaos.supervisor import Supervisor
from tests.faulty_network import FaultyNetwork

ENGINE, WEBHOOK = "engine", "webhook"
POLLERS, EVENTS_WORKERS, GPU_WORKERS = (
    [f"{kind} {number}" for number in (1, 2)] for kind in ("poller", "events worker", "gpu worker")
)
ALIAS = "production"

_COLLECTIONS = ("one", "another")

_DROPPED = 0.15  # fraction of the webhook deliveries that are dropped; as many are doubled
_START_TIMEOUT = 300.0  # seconds
_POLL_INTERVAL = 0.2  # seconds
_LONGEST_RESTART_DELAY = 4.0  # seconds
_SLOW_REQUEST = 2.0  # seconds that a request takes when W&B is slow

# Seconds. Short delays keep the run short; many attempts keep a version that several faults strike
# from failing.
_SETTINGS = {
    "WEIGHBRIDGE_RETRY_DELAY": "1",
    "WEIGHBRIDGE_MAX_RETRY_DELAY": "5",
    "WEIGHBRIDGE_MAX_ATTEMPTS": "40",
    "WEIGHBRIDGE_WANDB_TIMEOUT": "5",
    "WEIGHBRIDGE_STALL_TIMEOUT": "90",
    "WEIGHBRIDGE_POLL_INTERVAL": "2",
    "WEIGHBRIDGE_FULL_SCAN_INTERVAL": "15",
    "WEIGHBRIDGE_BACKFILL": "all",
}


class Environment(NamedTuple):
    """The running environment.

    Attributes:
        collections: Collections that the linking programs link to.
        target: Collection that versions are promoted to.
        programs: Plain programs, which reach W&B without the faulty network.
        supervisor: Runs the processes that may be killed.
        network: Lies between these processes and W&B.
        client: A Redis client of the test itself.
        api: W&B without the faulty network.
        webhook_url: Health check of the webhook receiver.
        engine_url: Model list of the engine.
    """

    folder: Path
    collections: list[str]
    target: str
    programs: Processes
    supervisor: Supervisor
    redis: RedisServer
    network: FaultyNetwork
    client: redis.Redis
    ledger: Ledger
    inbox: Inbox
    api: wandb.Api
    webhook_url: str
    engine_url: str


class _Servers(NamedTuple):
    redis: RedisServer
    wandb: LocalWandb
    network: FaultyNetwork
    webhook: Webhook

    @property
    def registries(self) -> str:
        """Prefix of a registry's path in the organization."""
        return f"{self.wandb.config.org}/{REGISTRY_PREFIX}"


def start_environment(
    folder: Path, stack: ExitStack, dice: random.Random, versions: int, lease: float
) -> Environment:
    """Start every process but the linking programs.

    Args:
        folder: A new folder for all files.
        stack: Ends the processes in reverse order.
        dice: Decides which webhook deliveries are dropped or doubled, and the restart delays.
        versions: How many versions will be linked.
        lease: Seconds.
    """
    servers = _start_servers(folder, stack, dice, versions)
    shared = _shared_variables(servers, stack)
    programs = stack.enter_context(
        Processes(folder / "logs", shared | servers.wandb.environment(folder / "programs"))
    )
    programs.run("app team", ["-m", "tests.chaos.app_team"])
    variables = shared | _weighbridge_variables(folder, servers, lease)
    supervisor = stack.enter_context(
        Supervisor(folder / "processes", variables, lambda: dice.uniform(0, _LONGEST_RESTART_DELAY))
    )
    engine_url = variables["WEIGHBRIDGE_ENGINE_URL"]
    _start_processes(supervisor, folder, engine_url)
    client = stack.enter_context(connect(servers.redis.url))
    webhook_url = f"http://127.0.0.1:{servers.webhook.url.port}/healthz"
    _wait_until_ready(supervisor, client, webhook_url)
    stack.callback(end_helper_process)
    key, url = servers.wandb.api_key, servers.wandb.url
    return Environment(
        folder=folder,
        collections=[f"{servers.registries}{CHAT_MODELS}/{name}" for name in _COLLECTIONS],
        target=f"{servers.registries}{RAG_MODELS}/RAG Model",
        programs=programs,
        supervisor=supervisor,
        redis=servers.redis,
        network=servers.network,
        client=client,
        ledger=Ledger(client, lease),
        inbox=Inbox(client, lease),
        api=wandb.Api(overrides={"base_url": url}, api_key=key),
        webhook_url=webhook_url,
        engine_url=f"{engine_url}/models",
    )


def _start_servers(folder: Path, stack: ExitStack, dice: random.Random, versions: int) -> _Servers:
    server = stack.enter_context(RedisServer(folder / "redis"))
    webhook = _webhook(dice, versions)
    config = LocalWandbConfig(data_dir=folder / "wandb", webhook=webhook)
    local_wandb = stack.enter_context(LocalWandb(config))
    network = stack.enter_context(FaultyNetwork(local_wandb.url, dice.randrange(2**32)))
    network.delay = _SLOW_REQUEST
    return _Servers(server, local_wandb, network, webhook)


def _webhook(dice: random.Random, versions: int) -> Webhook:
    numbers = range(1, versions + 1)
    affected = dice.sample(numbers, k=2 * round(versions * _DROPPED))
    return Webhook(
        url=HttpUrl(f"http://127.0.0.1:{free_port()}/webhook"),
        token=SecretStr(token_urlsafe(16)),
        secret=SecretStr(token_urlsafe(32)),
        registry=f"{REGISTRY_PREFIX}{CHAT_MODELS}",
        drop_deliveries=frozenset(affected[::2]),
        double_deliveries=frozenset(affected[1::2]),
    )


def _shared_variables(servers: _Servers, stack: ExitStack) -> dict[str, str]:
    return {
        **os.environ,
        "CHAOS_ORG": servers.wandb.config.org,
        "HF_HUB_OFFLINE": "1",
        # The SDKs leave temporary folders behind when they are killed.
        "TMPDIR": stack.enter_context(TemporaryDirectory(prefix="wb-", ignore_cleanup_errors=True)),
    }


def _weighbridge_variables(folder: Path, servers: _Servers, lease: float) -> dict[str, str]:
    webhook = servers.webhook
    assert webhook.token
    assert webhook.secret
    return {
        **client_environment(servers.wandb.config, servers.network.url, folder / "clients"),
        **_SETTINGS,
        "CELERY_BROKER_URL": servers.redis.url,
        "REMAP_SIGTERM": "SIGQUIT",  # Celery exits at once instead of finishing the task
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
        "thresholds": [{"metric": METRIC, "at_least": THRESHOLD}],
        "promote": {"to": f"{servers.registries}{RAG_MODELS}/RAG Model", "aliases": [ALIAS]},
    }
    path = folder / "gates.yaml"
    path.write_text(yaml.safe_dump({"gates": [gate]}))
    return path


def _start_processes(supervisor: Supervisor, folder: Path, engine_url: str) -> None:
    port = str(HttpUrl(engine_url).port)
    supervisor.start(ENGINE, ["-m", "tests.chaos.fake_engine", port])
    supervisor.start(WEBHOOK, ["-m", "weighbridge", "webhook"])
    for name in POLLERS:
        supervisor.start(name, ["-m", "weighbridge", "poll"])
    for queue, names in (("events", EVENTS_WORKERS), ("gpu", GPU_WORKERS)):
        for name in names:
            run_dir = str(folder / "run" / name)
            arguments = ["-m", "weighbridge", "worker", f"--queues={queue}"]
            supervisor.start(name, arguments, WEIGHBRIDGE_RUN_DIR=run_dir)


def _wait_until_ready(supervisor: Supervisor, client: redis.Redis, webhook_url: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    workers = len(EVENTS_WORKERS + GPU_WORKERS)
    while len(live_workers(client)) < workers or not responds(webhook_url):
        supervisor.restart_dead()
        if supervisor.deaths or time.monotonic() > deadline:
            raise PlatformError(f"Not every process started: {dict(supervisor.deaths)}.")
        time.sleep(_POLL_INTERVAL)


def responds(url: str) -> bool:
    """Whether a server answers a GET with success."""
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False
