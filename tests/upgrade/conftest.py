"""What version 0.1.0 left behind: the folder of a rehearsal, with a weighing in every state.

`rehearsal-0.1.0.tar.xz` holds the data of the local W&B, the Redis append-only file, the gate file
and `verdicts.json` of a rehearsal, all written by that version. Beside the rehearsal's three
weighings its ledger has one in each other state, and its inbox one event. The adapters' weights are
those in rehearsal/adapters/, so they are left out. No key expires.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import redis
from weave.trace.weave_client import WeaveClient

from bus.connection import connect
from bus.ledger import Ledger
from local_wandb import LocalWandb, LocalWandbConfig
from registry.helper_process import end_helper_process
from rehearsal.redis_server import RedisServer
from schemas.gates import Gate
from schemas.settings import Settings, read_gates
from tests.weave_clients import connected, end_known_clients

_ARCHIVE = Path(__file__).parent / "rehearsal-0.1.0.tar.xz"
_LEASE = 60.0  # seconds
_PROJECT = "wandb-smle/weave-cookboook-demo"


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rehearsal's folder, once for all tests, which only read it."""
    folder = tmp_path_factory.mktemp("upgrade")
    with tarfile.open(_ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for adapter in ("good", "worse", "better"):
        weights = files("rehearsal") / "adapters" / adapter / "adapter_model.safetensors"
        content = weights.read_bytes()
        name = hashlib.md5(content, usedforsecurity=False).hexdigest()  # as W&B names files
        blob = folder / "wandb" / "blobs" / name[:2] / name
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(content)
    return folder


@pytest.fixture
def old_redis(unpacked: Path, tmp_path: Path) -> Iterator[str]:
    """A Redis that has loaded the old append-only file; returns its URL."""
    file = "appendonly.aof"
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / file).write_bytes((unpacked / "redis" / file).read_bytes())
    with RedisServer(tmp_path / "redis") as server:
        yield server.url


@pytest.fixture
def old_client(old_redis: str) -> Iterator[redis.Redis]:
    client = connect(old_redis)
    yield client
    client.close()


@pytest.fixture
def old_ledger(old_client: redis.Redis) -> Ledger:
    return Ledger(old_client, _LEASE)


@pytest.fixture
def old_gate(unpacked: Path) -> Gate:
    return read_gates(unpacked / "gates.yaml").gates[0]


@pytest.fixture
def old_verdicts(unpacked: Path) -> list[dict[str, Any]]:
    """What the rehearsal printed, by version."""
    verdicts: list[dict[str, Any]] = json.loads((unpacked / "verdicts.json").read_text())
    return verdicts


@pytest.fixture(scope="session")
def old_wandb(unpacked: Path) -> Iterator[LocalWandb]:
    with LocalWandb(LocalWandbConfig(data_dir=unpacked / "wandb")) as running:
        yield running


@pytest.fixture
def old_project(
    old_wandb: LocalWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The path of the rehearsal's project; both SDKs talk to its W&B."""
    end_helper_process()
    for variable, value in old_wandb.environment(tmp_path / "client").items():
        monkeypatch.setenv(variable, value)
    yield _PROJECT
    end_known_clients()
    end_helper_process()


@pytest.fixture
def old_weave(old_project: str) -> Iterator[WeaveClient]:
    with connected(old_project, stored_code=False) as client:
        yield client


@pytest.fixture
def upgraded_settings(old_redis: str, unpacked: Path, tmp_path: Path) -> Settings:
    """Settings of a worker of this version on the old Redis and gate file."""
    return Settings.model_validate(
        {
            "CELERY_BROKER_URL": old_redis,
            "WEIGHBRIDGE_GATES": unpacked / "gates.yaml",
            "run_dir": tmp_path / "run",
            "cache_dir": tmp_path / "cache",
            "report_dir": tmp_path / "reports",
        }
    )
