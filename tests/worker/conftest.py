from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
import weave
from weave.trace.weave_client import WeaveClient


@pytest.fixture
def weave_project(project: str) -> Iterator[WeaveClient]:
    client = weave.init(project, settings={"implicitly_patch_integrations": False})
    yield client
    weave.finish()


@pytest.fixture
def target(registry: Callable[[str], str]) -> str:
    """A collection, of this test only, in the registry of promoted applications."""
    return f"{registry('RAG Models')}/{uuid4().hex[:8]}"
