from collections.abc import Callable
from pathlib import Path

import pytest
import weave
from weave.trace.weave_client import WeaveClient


@pytest.fixture
def reader(
    weave_project: WeaveClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], WeaveClient]:
    """Connects a second client to the test's project: it knows only what the server has."""

    def connect() -> WeaveClient:
        path = f"{weave_project.entity}/{weave_project.project}"
        weave.finish()
        monkeypatch.setenv("WEAVE_SERVER_CACHE_DIR", str(tmp_path / "reader"))
        return weave.init(path, settings={"implicitly_patch_integrations": False})

    return connect
