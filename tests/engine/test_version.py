"""Which versions can share a running engine, and their tokenizers and chat templates."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from engine import checkpoint
from engine.version import Version
from schemas.errors import ArtifactError
from schemas.settings import Settings

TOKENIZER = {"model": {"vocab": {"a": 0}}, "truncation": None, "padding": None}


@pytest.fixture
def base(tiny_models: Path) -> Path:
    folder = tiny_models / "team" / "tiny"
    write(folder / "tokenizer.json", TOKENIZER)
    (folder / "chat_template.jinja").write_text("the base's")
    return folder


@pytest.fixture
def other(base: Path, tmp_path: Path) -> Path:
    """A copy of the base, which a test changes."""
    return Path(shutil.copytree(base, tmp_path / "other"))


@pytest.fixture
def adapter(tiny_adapter: Callable[..., Path]) -> Path:
    return tiny_adapter(r=4)


def write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content))


def change(file: Path, **changes: object) -> None:
    write(file, json.loads(file.read_text()) | changes)


def share_an_engine(first: Path, second: Path) -> bool:
    return checkpoint.identity(first, first) == checkpoint.identity(second, second)


def test_checkpoints_with_different_values_share_an_engine(base: Path, other: Path) -> None:
    for file in other.glob("*.safetensors"):
        save_file({name: -tensor for name, tensor in load_file(file).items()}, file)
    change(other / "config.json", transformers_version="4.0", _name_or_path="/home/ada/tiny")
    change(other / "tokenizer.json", padding={"strategy": "BatchLongest"})
    (other / "chat_template.jinja").write_text("another")
    assert share_an_engine(base, other)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"rope_theta": 7}),
        ("config.json", {"dtype": "float16"}),
        ("generation_config.json", {"eos_token_id": 7}),
        ("tokenizer.json", {"model": {"vocab": {"b": 0}}}),
    ],
)
def test_another_architecture_or_vocabulary_needs_another_engine(
    file: str, changes: dict[str, object], base: Path, other: Path
) -> None:
    change(other / file, **changes)
    assert not share_an_engine(base, other)


def test_a_missing_tensor_needs_another_engine(base: Path, other: Path) -> None:
    """The engine would keep the value of the previous version."""
    file = sorted(other.glob("*.safetensors"))[0]
    tensors = load_file(file)
    tensors.popitem()
    save_file(tensors, file)
    assert not share_an_engine(base, other)


def test_an_adapter_uses_the_tokenizer_and_template_of_its_base(
    adapter: Path, base: Path, tiny_settings: Settings
) -> None:
    version = Version.open(adapter, tiny_settings)
    assert version.tokenizer == base
    assert version.chat_template == "the base's"


def test_a_copy_of_the_bases_tokenizer_is_not_a_different_tokenizer(
    adapter: Path, base: Path, tiny_settings: Settings
) -> None:
    write(adapter / "tokenizer.json", TOKENIZER | {"truncation": {"max_length": 512}})
    assert Version.open(adapter, tiny_settings).tokenizer == base


def test_an_adapters_own_tokenizer_and_template_take_precedence(
    adapter: Path, base: Path, tiny_settings: Settings
) -> None:
    write(adapter / "tokenizer.json", {"model": {"vocab": {"<new>": 0}}})
    write(adapter / "tokenizer_config.json", {"chat_template": "the adapter's"})
    version = Version.open(adapter, tiny_settings)
    assert version.tokenizer == adapter
    assert version.chat_template == "the adapter's"


def test_a_version_without_a_tokenizer_is_refused(base: Path, tiny_settings: Settings) -> None:
    (base / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match="has a tokenizer"):
        _ = Version.open(base, tiny_settings).tokenizer


def test_a_version_without_a_chat_template_is_refused(base: Path, tiny_settings: Settings) -> None:
    (base / "chat_template.jinja").unlink()
    with pytest.raises(ArtifactError, match="has a chat template"):
        _ = Version.open(base, tiny_settings).chat_template


def test_a_versions_digest_depends_on_its_content(
    base: Path, other: Path, tiny_settings: Settings
) -> None:
    assert Version.open(base, tiny_settings).digest == Version.open(other, tiny_settings).digest
    (other / "chat_template.jinja").write_text("another")
    assert Version.open(base, tiny_settings).digest != Version.open(other, tiny_settings).digest


def test_an_adapters_digest_changes_with_its_base(
    adapter: Path, base: Path, tiny_settings: Settings
) -> None:
    before = Version.open(adapter, tiny_settings).digest
    (base / "chat_template.jinja").write_text("another")
    assert Version.open(adapter, tiny_settings).digest != before
