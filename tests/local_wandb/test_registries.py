"""Registries: linking versions, their numbers and aliases, and finding them."""

from collections.abc import Callable

import pytest
import wandb
from wandb.apis.public import Api

Log = Callable[..., wandb.Artifact]


@pytest.fixture
def collection(registry: str) -> str:
    return f"{registry}/Finetuned SmolLM2"


def test_a_registry_is_found_by_its_name(registry: str, api: Api) -> None:
    organisation, _, name = registry.partition("/wandb-registry-")
    found = api.registry(name, organization=organisation)
    assert (found.full_name, found.visibility) == (f"wandb-registry-{name}", "organization")
    assert name in [r.name for r in api.registries(organization=organisation)]
    assert [r.name for r in api.registries(organization=organisation, filter={"name": name})] == [
        name
    ]


def test_the_name_of_a_registry_is_unique(registry: str, api: Api) -> None:
    organisation, _, name = registry.partition("/wandb-registry-")
    with pytest.raises(ValueError, match="already exists"):
        api.create_registry(name, visibility="organization", organization=organisation)


def test_versions_are_numbered_in_their_collection(collection: str, api: Api, log: Log) -> None:
    log("other")
    first = log("one", link=collection)
    second = log("two", "another-name", link=collection, link_aliases=("staging",))
    assert [first.version, second.version] == ["v0", "v1"]
    assert first.source_version == "v1"
    assert second.source_name == "another-name:v0"
    assert sorted(second.aliases) == ["latest", "staging"]
    assert api.artifact(f"{collection}:latest").version == "v1"


def test_a_version_keeps_its_number_when_linked_twice(collection: str, api: Api, log: Log) -> None:
    log("one", link=collection)
    log("two", link=collection)
    again = log("one", link=collection, link_aliases=("back",))
    assert again.version == "v0"
    assert sorted(api.artifact(f"{collection}:v0").aliases) == ["back", "latest"]


def test_an_alias_moves_inside_one_collection_only(registry: str, api: Api, log: Log) -> None:
    log("one", link=f"{registry}/A", link_aliases=("production",))
    log("one", link=f"{registry}/B", link_aliases=("production",))
    log("two", link=f"{registry}/A", link_aliases=("production",))
    assert api.artifact(f"{registry}/A:production").version == "v1"
    assert api.artifact(f"{registry}/B:production").version == "v0"


def test_a_linked_version_has_its_own_aliases(collection: str, api: Api, log: Log) -> None:
    linked = log("one", link=collection)
    linked.aliases.append("production")
    linked.save()
    assert sorted(api.artifact(f"{collection}:v0").aliases) == ["latest", "production"]
    assert linked.source_artifact.aliases == ["latest"]


def test_versions_are_found_by_metadata_tag_and_alias(
    collection: str, registry: str, api: Api, log: Log
) -> None:
    log("one", link=collection, metadata={"rank": 8, "base": {"name": "smol"}})
    log("two", link=collection, metadata={"rank": 16}, tags=["weighed"], link_aliases=("best",))
    organisation, _, name = registry.partition("/wandb-registry-")
    found = api.registry(name, organization=organisation).collections()

    def versions(filter_: dict[str, object]) -> list[str]:
        return [version.version for version in found.versions(filter_)]

    assert versions({"metadata.rank": {"$gte": 16}}) == ["v1"]
    assert versions({"metadata.base.name": "smol"}) == ["v0"]
    assert versions({"tag": "weighed"}) == ["v1"]
    assert versions({"$not": {"tag": "weighed"}}) == ["v0"]
    assert versions({"alias": "best"}) == ["v1"]
    assert versions({"$or": [{"version": "v0"}, {"alias": "best"}]}) == ["v1", "v0"]


def test_collections_are_found_by_name_and_tag(registry: str, api: Api, log: Log) -> None:
    log("one", link=f"{registry}/Climate A")
    log("one", link=f"{registry}/Weather")
    organisation, _, name = registry.partition("/wandb-registry-")
    found = api.registries(organization=organisation, filter={"name": name})
    weather = next(c for c in found.collections() if c.name == "Weather")
    weather.tags.append("watched")
    weather.save()
    assert [c.name for c in found.collections({"name": {"$regex": "^Climate"}})] == ["Climate A"]
    assert [c.name for c in found.collections({"tag": "watched"})] == ["Weather"]


def test_an_unlinked_version_stays_in_its_sequence(
    project: str, collection: str, api: Api, log: Log
) -> None:
    log("one", link=collection).unlink()
    assert not api.artifact_exists(f"{collection}:v0")
    assert api.artifact(f"{project}/adapter:v0").state == "COMMITTED"


def test_a_registry_refuses_other_artifact_types(api: Api, server_org: str, log: Log) -> None:
    api.create_registry(
        "Datasets only",
        visibility="organization",
        organization=server_org,
        artifact_types=["dataset"],
    )
    with pytest.raises(Exception, match="does not accept artifacts of type 'model'"):
        log("one", link=f"{server_org}/wandb-registry-Datasets only/X")


@pytest.fixture
def server_org(registry: str) -> str:
    return registry.partition("/")[0]


def test_versions_are_found_by_the_time_of_their_artifact(
    collection: str, registry: str, api: Api, log: Log
) -> None:
    log("one", link=collection)
    log("two", link=collection)
    organisation, _, name = registry.partition("/wandb-registry-")
    found = api.registry(name, organization=organisation)
    after = {"$gt": "2026-01-01T00:00:00Z"}
    recent = {"$or": [{"created_at": after}, {"updated_at": after}]}
    assert [version.version for version in found.versions(recent)] == ["v1", "v0"]
    assert list(found.versions({"created_at": {"$gt": "9999"}})) == []
    assert [one.version for one in found.versions({**recent, "alias": "latest"})] == ["v1"]
