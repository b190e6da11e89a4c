"""Finding the base model of an adapter."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from engine.version import Version
from schemas.errors import ArtifactError, ConfigurationError
from schemas.settings import Settings

MakeAdapter = Callable[..., Path]
REFERENCES = [
    "wandb-artifact:///wandb32/wandb-registry-Bases/Tiny:v2",
    "wandb32/wandb-registry-Bases/Tiny:v2",
    "wandb-smle/training/tiny:latest",
]


@pytest.fixture
def adapter(tiny_adapter: MakeAdapter) -> Path:
    return tiny_adapter(r=4)


def trained_on(adapter: Path, name: str, revision: str | None = None) -> Path:
    file = adapter / "adapter_config.json"
    named = {"base_model_name_or_path": name, "revision": revision}
    file.write_text(json.dumps(json.loads(file.read_text()) | named))
    return adapter


def test_a_hub_id_names_a_folder_of_local_models(adapter: Path, tiny_settings: Settings) -> None:
    version = Version.open(trained_on(adapter, "team/tiny"), tiny_settings)
    assert version.base.folder == tiny_settings.models_dir / "team" / "tiny"


def test_each_revision_has_its_own_folder(
    adapter: Path, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    main = tiny_settings.models_dir / "team" / "tiny"
    trained_on(adapter, "team/tiny", "v2")
    with pytest.raises(ArtifactError, match=r"base model team/tiny@v2 .* is not below"):
        Version.open(adapter, tiny_settings)
    shutil.copytree(main, main.with_name("tiny@v2"))
    assert Version.open(adapter, tiny_settings).base.folder == main.with_name("tiny@v2")
    trained_on(adapter, "team/tiny", "main")
    assert Version.open(adapter, tiny_settings).base.folder == main


@pytest.mark.parametrize("by_path", [False, True])
def test_a_refused_local_base_is_a_configuration_error(
    by_path: bool, adapter: Path, tiny_settings: Settings
) -> None:
    base = tiny_settings.models_dir / "team" / "tiny"
    trained_on(adapter, str(base) if by_path else "team/tiny")
    link = base / "vocab.json"
    link.symlink_to("config.json")
    with pytest.raises(ConfigurationError, match=f"base model in {base} is refused: vocab.json"):
        Version.open(adapter, tiny_settings)
    link.unlink()
    (base / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigurationError, match=f"base model in {base} is refused: pytorch_model"):
        Version.open(adapter, tiny_settings)


def test_a_local_path_is_read_in_place(adapter: Path, tiny_models: Path, tmp_path: Path) -> None:
    base = tiny_models / "team" / "tiny"
    elsewhere = Settings(models_dir=tmp_path / "elsewhere", cache_dir=tmp_path / "cache")
    assert Version.open(trained_on(adapter, str(base)), elsewhere).base.folder == base


@pytest.mark.parametrize("reference", REFERENCES)
def test_an_artifact_is_downloaded(
    reference: str, adapter: Path, tiny_settings: Settings, tiny_models: Path
) -> None:
    requested = []

    def fetch(name: str) -> Path:
        requested.append(name)
        return tiny_models / "team" / "tiny"

    version = Version.open(trained_on(adapter, reference), tiny_settings, fetch_base=fetch)
    assert version.base.folder == tiny_models / "team" / "tiny"
    assert requested == [reference]


def test_an_artifact_without_a_downloader_is_a_configuration_error(
    adapter: Path, tiny_settings: Settings
) -> None:
    with pytest.raises(ConfigurationError, match="which cannot be downloaded here"):
        Version.open(trained_on(adapter, REFERENCES[0]), tiny_settings)


@pytest.mark.parametrize("name", ["team/unknown", "/etc", "../outside", "."])
def test_an_adapter_of_an_unknown_base_is_refused(
    name: str, adapter: Path, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match=f"base model {name} .* is not below"):
        Version.open(trained_on(adapter, name), tiny_settings)


def test_an_adapter_of_an_adapter_is_refused(
    tiny_adapter: MakeAdapter, adapter: Path, tiny_settings: Settings
) -> None:
    first = tiny_adapter(r=4)
    (first / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="which is an adapter itself"):
        Version.open(trained_on(adapter, str(first)), tiny_settings)
