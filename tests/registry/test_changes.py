import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import wandb
from graphql import FieldNode, Visitor, build_schema, parse, validate, visit
from wandb.sdk.artifacts._generated import operations

from registry import changes
from registry.calls import wandb_api
from registry.changes import Registries
from registry.graphql import Graphql
from schemas.errors import ConfigurationError
from tests.registry.scripted import Answer, scripted

_TIMEOUT = 19.0
_SCHEMA = Path("local_wandb/graphql/schema.graphql")
_REGISTRY = ("wandb32", "wandb-registry-RAG Chat Models")


@pytest.fixture
def collection() -> str:
    return f"collection {uuid4().hex[:8]}"


@pytest.fixture
def graphql(project: str) -> Graphql:
    return Graphql.from_api(wandb_api(_TIMEOUT), _TIMEOUT, threading.Event())


@pytest.mark.parametrize("query", [changes.VERSIONS, changes.FEATURES, changes.ADVANCED])
def test_a_query_fits_the_schema(query: str) -> None:
    assert validate(build_schema(_SCHEMA.read_text()), parse(query)) == []


def _fields(*documents: str) -> set[str]:
    found: set[str] = set()

    class _Collector(Visitor):
        def enter_field(self, node: FieldNode, *_: object) -> None:
            found.add(node.name.value)

    for document in documents:
        visit(parse(document), _Collector())
    return found


def test_every_field_is_one_that_the_sdk_queries() -> None:
    sdk = _fields(
        operations.REGISTRY_VERSIONS_GQL,
        operations.FETCH_REGISTRY_GQL,
        operations.FETCH_ADVANCED_REGISTRY_FEATURES_GQL,
    )
    assert _fields(changes.VERSIONS, changes.ADVANCED) <= sdk


def test_a_version_has_its_number_in_the_registry(
    graphql: Graphql, link: Callable[..., str], collection: str
) -> None:
    link(f"other {uuid4()}", f"{collection} before")
    linked = link(f"weights {uuid4()}", collection)
    artifact = wandb.Api().artifact(linked)
    artifact.tags.append("theirs")
    artifact.aliases.append("staging")
    artifact.save()
    (found,) = [
        version
        for version in Registries(graphql).versions(*_REGISTRY)
        if version.ref.collection == collection
    ]
    assert str(found.ref) == linked == f"{'/'.join(_REGISTRY)}/{collection}:v0"
    assert found.artifact_id == artifact.id
    assert found.aliases == {"latest", "staging"}
    assert found.tags == {"theirs"}
    assert timedelta() <= datetime.now(UTC) - found.linked_at < timedelta(minutes=1)
    assert found.changed_at >= found.linked_at


def test_all_pages_are_read(
    graphql: Graphql,
    link: Callable[..., str],
    collection: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    linked = {link(f"{number} {uuid4()}", collection) for number in range(3)}
    monkeypatch.setattr(changes, "_PER_PAGE", 2)
    found = Registries(graphql).versions(*_REGISTRY)
    assert len(found) == len({version.ref for version in found})
    assert linked <= {str(version.ref) for version in found}
    assert graphql.requests == -(-len(found) // 2)


def test_with_since_only_changed_versions_are_read(
    graphql: Graphql, link: Callable[..., str], collection: str
) -> None:
    linked = link(f"weights {uuid4()}", collection)
    registries = Registries(graphql)
    now = datetime.now(UTC)
    found = registries.versions(*_REGISTRY, now - timedelta(minutes=1))
    assert linked in {str(version.ref) for version in found}
    assert registries.versions(*_REGISTRY, now + timedelta(minutes=1)) == []


@pytest.mark.parametrize("missing", [("wandb32", "wandb-registry-Nowhere"), ("nobody", "x")])
def test_a_missing_registry_is_a_configuration_error(
    graphql: Graphql, missing: tuple[str, str]
) -> None:
    message = f"list the versions in {'/'.join(missing)}: there is no such registry"
    with pytest.raises(ConfigurationError, match=message):
        Registries(graphql).versions(*missing)


def _features(*names: str) -> Answer:
    features = [{"name": name, "isEnabled": True} for name in names]
    return Answer(body={"data": {"serverInfo": {"features": features}}})


def _search(advanced: bool) -> Answer:
    said = {"advancedRegistryFeatures": {"advancedSearch": advanced}}
    return Answer(body={"data": {"organization": said}})


_PAGE = {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}
_EMPTY = Answer(
    body={
        "data": {
            "organization": {"orgEntity": {"project": {"id": "x"}, "artifactMemberships": _PAGE}}
        }
    }
)
_AFTER = {"$gt": "2026-01-31T12:00:00Z"}
_BY_ARTIFACT = {"$or": [{"created_at": _AFTER}, {"updated_at": _AFTER}]}


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (
            [_features("ARTIFACT_COLLECTIONS_FILTERING_SORTING"), _search(True)],
            {"acm_created_at": _AFTER},
        ),
        ([_features("ARTIFACT_COLLECTIONS_FILTERING_SORTING"), _search(False)], _BY_ARTIFACT),
        ([_features("ARTIFACT_TAGS")], _BY_ARTIFACT),
    ],
)
def test_the_filter_is_supported_by_the_server(
    told: list[Answer], wanted: dict[str, object]
) -> None:
    with scripted(*told, _EMPTY) as server:
        graphql = Graphql(server.url, "the-key", _TIMEOUT, threading.Event())
        registries = Registries(graphql)
        for _ in range(2):
            registries.versions("org", "r", datetime(2026, 1, 31, 12, tzinfo=UTC))
        assert json.loads(server.asked[-1]["variables"]["artifactFilter"]) == wanted
        assert len(server.asked) == len(told) + 2  # the search features are queried once
