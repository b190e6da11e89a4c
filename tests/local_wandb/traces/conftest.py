"""The real Weave client, and plain HTTP, against the session's local W&B."""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from weave.trace.weave_client import WeaveClient

from local_wandb import LocalWandb
from tests.weave_clients import connected

Connect = Callable[[LocalWandb, str, str], WeaveClient]


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Connects Weave in this process to a server and a project, with a cache by name."""

    clients = ExitStack()

    def connect_to(server: LocalWandb, project_id: str, cache: str) -> WeaveClient:
        for name, value in server.environment(tmp_path / cache).items():
            monkeypatch.setenv(name, value)
        return clients.enter_context(connected(project_id))

    with warnings.catch_warnings():
        # Weave uses deprecated parts of gql and pydantic, and does not close its connections.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", ResourceWarning)
        with clients:
            yield connect_to
        gc.collect()


@pytest.fixture
def project_id(server: LocalWandb) -> str:
    """A project that only this test uses."""
    return f"{server.config.entity}/weave-{uuid4().hex[:8]}"


@pytest.fixture
def weave_client(connect: Connect, server: LocalWandb, project_id: str) -> WeaveClient:
    """A Weave client of this process, in a project of this test."""
    return connect(server, project_id, "client")


@pytest.fixture
def http(server: LocalWandb) -> Iterator[httpx.Client]:
    """Plain HTTP with the API key."""
    auth = ("api", server.api_key)
    with httpx.Client(base_url=f"{server.url}/traces", auth=auth, timeout=None) as plain:
        yield plain
