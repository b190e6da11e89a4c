"""Where the base model of an adapter is found."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import ArtifactError, ConfigurationError
from schemas.settings import Settings
from worker.inference.version import Version

MakeAdapter = Callable[..., Path]
REFERENCES = [
    "wandb-artifact:///wandb32/wandb-registry-Bases/Tiny:v2",
    "wandb32/wandb-registry-Bases/Tiny:v2",
    "wandb-smle/training/tiny:latest",
]


@pytest.fixture
def adapter(tiny_adapter: MakeAdapter) -> Path:
    return tiny_adapter(r=4)


def trained_on(adapter: Path, name: str) -> Path:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": name}))
    return adapter


def test_a_hub_id_is_a_folder_of_local_models(adapter: Path, tiny_settings: Settings) -> None:
    version = Version.open(trained_on(adapter, "team/tiny"), tiny_settings)
    assert version.base.folder == tiny_settings.models_dir / "team" / "tiny"


def test_a_path_of_this_machine_is_read_where_it_lies(
    adapter: Path, tiny_models: Path, tmp_path: Path
) -> None:
    base = tiny_models / "team" / "tiny"
    elsewhere = Settings(models_dir=tmp_path / "elsewhere", cache_dir=tmp_path / "cache")
    assert Version.open(trained_on(adapter, str(base)), elsewhere).base.folder == base


@pytest.mark.parametrize("reference", REFERENCES)
def test_an_artifact_is_downloaded(
    reference: str, adapter: Path, tiny_settings: Settings, tiny_models: Path
) -> None:
    asked = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return tiny_models / "team" / "tiny"

    version = Version.open(trained_on(adapter, reference), tiny_settings, fetch_base=fetch)
    assert version.base.folder == tiny_models / "team" / "tiny"
    assert asked == [reference]


def test_an_artifact_without_anybody_to_download_it_is_our_matter(
    adapter: Path, tiny_settings: Settings
) -> None:
    with pytest.raises(ConfigurationError, match="which nothing here downloads"):
        Version.open(trained_on(adapter, REFERENCES[0]), tiny_settings)


@pytest.mark.parametrize("name", ["team/unknown", "/etc", "../outside", "."])
def test_an_adapter_of_an_unknown_base_is_refused(
    name: str, adapter: Path, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ArtifactError, match=f"base model {name} .* is not below"):
        Version.open(trained_on(adapter, name), tiny_settings)


def test_an_adapter_of_an_adapter_is_refused(
    tiny_adapter: MakeAdapter, adapter: Path, tiny_settings: Settings
) -> None:
    first = tiny_adapter(r=4)
    (first / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="which is an adapter itself"):
        Version.open(trained_on(adapter, str(first)), tiny_settings)
