"""Artifacts, as the real SDK logs, changes and downloads them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import wandb
from wandb.apis.public import Api

Log = Callable[..., wandb.Artifact]


def test_new_contents_are_a_new_version_and_move_latest(project: str, api: Api, log: Log) -> None:
    log("one")
    log("two", aliases=["best"])
    first, second = api.artifact(f"{project}/adapter:v0"), api.artifact(f"{project}/adapter:latest")
    assert (first.version, first.aliases) == ("v0", [])
    assert (second.version, sorted(second.aliases)) == ("v1", ["best", "latest"])
    assert [a.version for a in api.artifacts("model", f"{project}/adapter")] == ["v1", "v0"]


def test_equal_contents_are_one_version_that_gets_the_aliases(
    project: str, api: Api, log: Log
) -> None:
    log("one")
    log("two")
    log("one", aliases=["again"])
    versions = {a.version: sorted(a.aliases) for a in api.artifacts("model", f"{project}/adapter")}
    assert versions == {"v1": [], "v0": ["again", "latest"]}


def test_an_alias_belongs_to_one_version(project: str, api: Api, log: Log) -> None:
    log("one", aliases=["best"])
    log("two")
    second = api.artifact(f"{project}/adapter:v1")
    second.aliases.append("best")
    second.save()
    assert api.artifact(f"{project}/adapter:best").version == "v1"
    second.aliases.remove("best")
    second.save()
    assert not api.artifact_exists(f"{project}/adapter:best")


def test_a_version_number_cannot_be_an_alias(project: str, log: Log) -> None:
    artifact = log("one")
    artifact.aliases.append("v7")
    with pytest.raises(Exception, match="alias 'v7' is reserved for a version number"):
        artifact.save()


def test_tags_metadata_and_description_can_be_changed(project: str, api: Api, log: Log) -> None:
    artifact = log("one", metadata={"rank": 8}, tags=["lora"], description="first")
    artifact.metadata["score"] = 0.5
    artifact.tags.append("weighed")
    artifact.description = "changed"
    artifact.save()
    found = api.artifact(f"{project}/adapter:v0")
    assert found.metadata == {"rank": 8, "score": 0.5}
    assert sorted(found.tags) == ["lora", "weighed"]
    assert found.description == "changed"
    found.tags = ["weighed"]
    found.save()
    assert api.artifact(f"{project}/adapter:v0").tags == ["weighed"]


def test_a_download_has_the_bytes_that_were_logged(
    project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    for i in range(60):  # more than one batch of 25 upload addresses
        (source / "deep" / f"{i} é.bin").write_bytes(bytes([i]) * i * 1000)
    artifact = wandb.Artifact("many", type="dataset")
    artifact.add_dir(str(source))
    with wandb.init() as run:
        run.log_artifact(artifact).wait()
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "empty cache"))
    found = wandb.Api().artifact(f"{project}/many:latest")
    down = Path(found.download(root=str(tmp_path / "down")))
    assert found.file_count == 60
    assert found.size == sum(file.stat().st_size for file in source.rglob("*.bin"))
    for file in source.rglob("*.bin"):
        assert (down / file.relative_to(source)).read_bytes() == file.read_bytes()
    found.verify(root=str(down))


def test_a_reference_keeps_its_weave_uri(project: str, api: Api) -> None:
    uri = f"weave:///{project}/object/RagModel:abc"
    artifact = wandb.Artifact("rag", type="rag-model", metadata={"url": "https://example.org"})
    artifact.add_reference(uri, name="model", checksum=False)
    with wandb.init() as run:
        run.log_artifact(artifact, aliases=["abc"]).wait()
    found = api.artifact(f"{project}/rag:abc")
    assert found.manifest.entries["model"].ref == uri
    assert found.metadata["url"] == "https://example.org"


def test_an_artifact_can_refer_to_a_file_of_another(project: str, api: Api, log: Log) -> None:
    base = log("one")
    artifact = wandb.Artifact("derived", type="model")
    artifact.add_reference(base.get_entry("weights.txt"), name="base.txt")
    with wandb.init() as run:
        run.log_artifact(artifact).wait()
    entry = api.artifact(f"{project}/derived:v0").get_entry("base.txt")
    assert Path(entry.download()).read_text() == "one"


def test_a_deleted_version_is_not_found_and_its_number_is_not_reused(
    project: str, api: Api, log: Log
) -> None:
    log("one")
    log("two")
    latest = api.artifact(f"{project}/adapter:v1")
    with pytest.raises(Exception, match="has aliases"):
        latest.delete()
    latest.delete(delete_aliases=True)
    assert not api.artifact_exists(f"{project}/adapter:v1")
    assert log("three").version == "v2"


def test_a_collection_can_be_described_tagged_and_deleted(project: str, api: Api, log: Log) -> None:
    log("one")
    collection = api.artifact_collection("model", f"{project}/adapter")
    collection.description = "adapters"
    collection.tags.append("lora")
    collection.save()
    found = api.artifact_collection("model", f"{project}/adapter")
    assert (found.description, found.tags, found.aliases) == ("adapters", ["lora"], ["latest"])
    found.delete()
    assert [c.name for c in api.artifact_collections(project, "model")] == []
    assert log("one").version == "v0"


def test_types_and_collections_of_a_project_are_listed(project: str, api: Api, log: Log) -> None:
    log("one")
    log("two", "texts", type="dataset")
    assert [t.name for t in api.artifact_types(project)] == ["dataset", "model"]
    assert [c.name for c in api.artifact_collections(project, "dataset")] == ["texts"]
    assert api.artifact_type("model", project).collection("adapter").name == "adapter"


def test_the_time_to_live_of_an_artifact_is_returned(project: str, api: Api, log: Log) -> None:
    assert log("one").ttl is None
