"""The poller as a process: it survives outages, and ends on SIGTERM."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import redis
import yaml

from bus.bus import Bus
from bus.celery_app import EVENTS_QUEUE, queue_length
from local_wandb import LocalWandb, LocalWandbConfig
from producers.poller import poll
from rehearsal.processes import stop_on_exit, wait_until
from rehearsal.redis_server import free_port
from schemas.gates import Gate, GateFile
from schemas.settings import Settings

_TIMEOUT = 120.0  # seconds
_OF_THE_SHELL = ("CELERY_", "WEIGHBRIDGE_", "WANDB_", "WEAVE_")

# The model team, with a registry of its own: argument 1 is a file to log.
_LINK_A_VERSION = """
import sys, wandb
wandb.Api().create_registry("RAG Chat Models", visibility="organization", organization="wandb32")
with wandb.init() as run:
    artifact = wandb.Artifact("adapter", type="model")
    artifact.add_file(sys.argv[1])
    run.link_artifact(artifact, "wandb32/wandb-registry-RAG Chat Models/Finetuned")
"""


@pytest.fixture
def environment(settings: Settings, gate: Gate) -> dict[str, str]:
    """The environment of a poller that scans often, without a W&B."""
    _write(settings, gate)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_SHELL)}
    return {
        **kept,
        "CELERY_BROKER_URL": settings.broker_url,
        "WEIGHBRIDGE_GATES": str(settings.gates_path),
        "WEIGHBRIDGE_POLL_INTERVAL": "0.1",
    }


def _write(settings: Settings, *gates: Gate) -> None:
    document = GateFile(gates=gates).model_dump(mode="json", exclude_none=True)
    settings.gates_path.write_text(yaml.safe_dump(document))


@contextmanager
def _polling(environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        poller = subprocess.Popen(
            [sys.executable, "-m", "weighbridge", "poll"], env=environment, stderr=output
        )
    with stop_on_exit(poller):
        yield poller


def _warned_twice(log: Path, reason: str) -> bool:
    lines = log.read_text().splitlines()
    return sum("scan failed" in line and reason in line for line in lines) > 1


def _terminated(poller: subprocess.Popen[bytes]) -> int:
    poller.send_signal(signal.SIGTERM)
    return poller.wait(_TIMEOUT)


def test_scans_continue_when_wandb_is_back(
    environment: dict[str, str], client: redis.Redis, tmp_path: Path
) -> None:
    log = tmp_path / "poller.log"
    config = LocalWandbConfig(data_dir=tmp_path / "wandb", port=free_port())
    with LocalWandb(config) as server:
        environment |= server.environment(tmp_path / "clients")
        program = [sys.executable, "-c", _LINK_A_VERSION, str(log)]
        log.touch()
        subprocess.run(program, env=environment, cwd=tmp_path, check=True)
        server.stop()
        with _polling(environment | {"WEIGHBRIDGE_WANDB_TIMEOUT": "1"}, log) as poller:
            wait_until(
                lambda: _warned_twice(log, "W&B did not"), poller, "The poller", log, _TIMEOUT
            )
            server.start()
            wait_until(
                lambda: queue_length(client, EVENTS_QUEUE) == 1,
                poller,
                "The poller",
                log,
                _TIMEOUT,
            )
            assert _terminated(poller) == 0
    assert "the poller found a version" in log.read_text()


def test_without_redis_the_poller_keeps_scanning_until_sigterm(
    environment: dict[str, str], local_wandb: LocalWandb, tmp_path: Path
) -> None:
    log = tmp_path / "poller.log"
    environment |= local_wandb.environment(tmp_path / "clients")
    environment["CELERY_BROKER_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    with _polling(environment, log) as poller:
        wait_until(
            lambda: _warned_twice(log, "Connection refused"), poller, "The poller", log, _TIMEOUT
        )
        assert _terminated(poller) == 0


class _OneScan(threading.Event):
    """Stops the poller when it would wait for its next scan."""

    def wait(self, timeout: float | None = None) -> bool:
        if timeout:
            self.set()
        return self.is_set()


def test_a_missing_registry_does_not_affect_the_others(
    bus: Bus,
    client: redis.Redis,
    settings: Settings,
    gate: Gate,
    link: Callable[..., str],
) -> None:
    collection = f"collection {uuid4().hex[:8]}"
    link("one", collection)
    astray = gate.model_copy(update={"name": "astray", "watch": ("wandb32/wandb-registry-No/*",)})
    watch = (f"wandb32/wandb-registry-RAG Chat Models/{collection}",)
    _write(settings, astray, gate.model_copy(update={"watch": watch}))
    poll(bus, _OneScan())
    assert queue_length(client, EVENTS_QUEUE) == 1


def test_two_pollers_publish_a_version_once(
    bus: Bus,
    client: redis.Redis,
    settings: Settings,
    gate: Gate,
    link: Callable[..., str],
) -> None:
    collection = f"collection {uuid4().hex[:8]}"
    link("one", collection)
    watch = (f"wandb32/wandb-registry-RAG Chat Models/{collection}",)
    _write(settings, gate.model_copy(update={"watch": watch}))
    pollers = [threading.Thread(target=poll, args=(bus, _OneScan())) for _ in range(2)]
    for poller in pollers:
        poller.start()
    for poller in pollers:
        poller.join(_TIMEOUT)
    assert queue_length(client, EVENTS_QUEUE) == 1
