from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from weave.trace.weave_client import WeaveClient

from tests.weave_clients import connected


@pytest.fixture
def reader(
    weave_project: WeaveClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], WeaveClient]]:
    """Connects a second client, with an empty cache, to the test's project."""
    with ExitStack() as stack:

        def connect() -> WeaveClient:
            path = f"{weave_project.entity}/{weave_project.project}"
            weave_project.flush()
            monkeypatch.setenv("WEAVE_SERVER_CACHE_DIR", str(tmp_path / "reader"))
            return stack.enter_context(connected(path))

        yield connect
