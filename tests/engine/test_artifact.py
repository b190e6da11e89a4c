"""Which versions are accepted, and the message for each refusal."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.artifact import Adapter, Checkpoint, open_version
from schemas.errors import ArtifactError

MakeAdapter = Callable[..., Path]


@pytest.fixture
def checkpoint(tiny_models: Path) -> Path:
    return tiny_models / "team" / "tiny"


def change_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_an_adapter_is_recognized(tiny_adapter: MakeAdapter) -> None:
    assert isinstance(open_version(tiny_adapter(r=4)), Adapter)


def test_a_checkpoint_is_recognized(checkpoint: Path) -> None:
    assert isinstance(open_version(checkpoint), Checkpoint)


def test_a_folder_that_is_neither_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model here")
    with pytest.raises(ArtifactError, match=r"neither an adapter .* nor a checkpoint"):
        open_version(tmp_path)


def test_an_adapter_without_weights_is_refused(tiny_adapter: MakeAdapter) -> None:
    adapter = tiny_adapter(r=4)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"has no adapter_model\.safetensors"):
        open_version(adapter)


def test_a_checkpoint_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"has no \*\.safetensors weights"):
        open_version(tmp_path)


def test_a_checkpoint_without_one_of_its_shards_is_refused(checkpoint: Path) -> None:
    shard = sorted(checkpoint.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ArtifactError, match=f"names the weight file {shard.name}"):
        open_version(checkpoint)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "adapter_model.bin", "model.pt", "weights.PTH", "old/model.pkl"]
)
def test_pickled_files_are_refused(name: str, checkpoint: Path) -> None:
    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_bytes(b"")
    with pytest.raises(ArtifactError, match=f"{name} in .* can run code"):
        open_version(checkpoint)


def test_code_is_refused(checkpoint: Path) -> None:
    (checkpoint / "modeling_tiny.py").write_text("")
    with pytest.raises(ArtifactError, match=r"modeling_tiny\.py in .* is code"):
        open_version(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_configuration_that_names_code_is_refused(name: str, checkpoint: Path) -> None:
    file = checkpoint / name
    file.write_text(file.read_text() if file.exists() else "{}")
    change_json(file, auto_map={"AutoModel": "evil--repo.Model"})
    with pytest.raises(ArtifactError, match=f"{name} has auto_map"):
        open_version(checkpoint)


def test_code_is_accepted_if_the_gate_trusts_it(checkpoint: Path) -> None:
    (checkpoint / "modeling_tiny.py").write_text("")
    change_json(checkpoint / "config.json", auto_map={"AutoModel": "modeling_tiny.Model"})
    assert isinstance(open_version(checkpoint, trust_remote_code=True), Checkpoint)


def test_links_are_refused(checkpoint: Path) -> None:
    (checkpoint / "notes.txt").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match=r"notes\.txt in .* is a link"):
        open_version(checkpoint)


def test_an_index_that_leaves_the_folder_is_refused(checkpoint: Path) -> None:
    index = checkpoint / "model.safetensors.index.json"
    change_json(index, weight_map={"x": "../other/model.safetensors"})
    with pytest.raises(ArtifactError, match=r"names the weight file \.\./other/model"):
        open_version(checkpoint)


def test_truncated_weights_are_refused(tiny_adapter: MakeAdapter) -> None:
    adapter = tiny_adapter(r=4)
    weights = adapter / "adapter_model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1)
    with pytest.raises(ArtifactError, match="its header promises"):
        open_version(adapter)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\xff" * 100, b"\x02" + b"\0" * 7 + b"[]"]
)
def test_weights_that_are_not_safetensors_are_refused(
    content: bytes, tiny_adapter: MakeAdapter
) -> None:
    adapter = tiny_adapter(r=4)
    (adapter / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="is not a safetensors file"):
        open_version(adapter)


def test_a_configuration_that_is_not_json_is_refused(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read as JSON"):
        open_version(checkpoint)


def test_an_adapter_without_a_base_is_refused(tiny_adapter: MakeAdapter) -> None:
    adapter = tiny_adapter(r=4)
    change_json(adapter / "adapter_config.json", base_model_name_or_path=None)
    with pytest.raises(ArtifactError, match="base_model_name_or_path"):
        open_version(adapter)


@pytest.mark.parametrize(
    "setting", [{"megatron_config": {"tensor_model_parallel_size": 1}}, {"peft_type": "XLORA"}]
)
def test_an_adapter_that_uses_other_folders_is_refused(
    setting: dict[str, object], tiny_adapter: MakeAdapter
) -> None:
    adapter = tiny_adapter(r=4)
    change_json(adapter / "adapter_config.json", **setting)
    with pytest.raises(ArtifactError, match=f"has {next(iter(setting))}.* reaches outside"):
        open_version(adapter)
