"""What a registry has and accepts."""

from collections.abc import Callable
from uuid import uuid4

import pytest
import wandb

from registry.calls import wandb_api
from registry.contents import read_registry
from schemas.errors import ConfigurationError


def test_a_registry_that_accepts_every_type_lists_its_collections_with_their_types(
    link: Callable[..., str],
) -> None:
    collection = f"collection {uuid4().hex[:8]}"
    link("one", collection)
    found = read_registry(wandb_api(10), "wandb32", "wandb-registry-RAG Chat Models")
    assert found.collections[collection] == "model"
    assert found.accepts("model")
    assert found.accepts("anything")


def test_a_registry_may_accept_some_types_only(project: str) -> None:
    name = f"Datasets {uuid4().hex[:8]}"
    wandb.Api().create_registry(
        name, visibility="organization", organization="wandb32", artifact_types=["dataset"]
    )
    found = read_registry(wandb_api(10), "wandb32", f"wandb-registry-{name}")
    assert not found.accepts("model")
    assert found.accepts("dataset")
    assert found.collections == {}


def test_a_missing_registry_is_named(project: str) -> None:
    with pytest.raises(ConfigurationError, match="read the registry wandb32/wandb-registry-Nobody"):
        read_registry(wandb_api(10), "wandb32", "wandb-registry-Nobody's")
