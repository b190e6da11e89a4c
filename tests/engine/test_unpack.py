"""Unpacking a 4-bit checkpoint: exact, once, and never partial."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import psutil
import pytest
import torch
from bitsandbytes.functional import QuantState, dequantize_4bit, quantize_4bit
from bitsandbytes.nn.modules import Linear4bit
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, LlamaConfig

from engine import checkpoint
from engine.artifact import Checkpoint
from engine.four_bit import dequantize
from engine.options import ignore_progress
from engine.transformers_loading import VersionFiles, load
from engine.unpack import is_four_bit, unpacked
from schemas.errors import ArtifactError, ConfigurationError, PlatformError

PROGRAM = """
import sys; from pathlib import Path
from engine.artifact import Checkpoint
from engine.unpack import unpacked
report = lambda line: print(line, flush=True)
unpacked(Checkpoint(folder=Path(sys.argv[1])), Path(sys.argv[2]), report)
"""
WEIGHT = "model.layers.0.mlp.up_proj.weight"
STATE = f"{WEIGHT}.quant_state.bitsandbytes__nf4"
# Largest error: half of the widest gap between adjacent values of the 16, and the rounding of the
# scales to 8 bits with double quantization.
FARTHEST = 0.17


# bitsandbytes' layers require these sizes on the CPU.
SMALL_LLAMA = LlamaConfig(
    vocab_size=64,
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=4,
)


@pytest.fixture
def full(tiny_models: Path) -> Path:
    return tiny_models / "team" / "tiny"


@pytest.fixture
def quantized(full: Path, tmp_path: Path) -> Callable[..., Path]:
    """Saves the tiny model in 4 bits with transformers, split into many files."""

    def save(**settings: Any) -> Path:
        model = four_bit_model(full, **settings)
        folder = tmp_path / "four-bit"
        model.save_pretrained(folder, max_shard_size="2KB")
        (folder / "chat_template.jinja").write_text("the base's")
        return folder

    return save


@pytest.fixture(scope="module")
def four_bit_base(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as unsloth publishes its bases: NF4, double quantization."""
    tensors = {}
    for name, tensor in load_file(base_folder / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            tensors[name], state = quantize_4bit(tensor, quant_type="nf4", compress_statistics=True)
            parts = state.as_dict(packed=True)
            tensors |= {f"{name}.{part}": value for part, value in parts.items()}
        else:
            tensors[name] = tensor
    weights = "model.safetensors"
    ignored = shutil.ignore_patterns(weights)
    folder = shutil.copytree(base_folder, tmp_path_factory.mktemp("base") / "4", ignore=ignored)
    save_file(tensors, folder / weights, metadata={"format": "pt"})
    quantization = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    change(folder / "config.json", quantization_config=quantization)
    return folder


def change(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def four_bit_model(folder: Path, **settings: Any) -> Any:
    settings = {"bnb_4bit_quant_type": "nf4"} | settings
    config = BitsAndBytesConfig(load_in_4bit=True, **settings)  # type: ignore[no-untyped-call]
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=config)


def layers(model: Any) -> dict[str, Any]:
    """The quantized layers of a model, by the names of their weights."""
    modules = model.named_modules()
    return {f"{name}.weight": one for name, one in modules if isinstance(one, Linear4bit)}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    files = checkpoint.weight_files(folder)
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def unpack(
    folder: Path, cache_dir: Path, on_progress: Callable[[str], None] = ignore_progress
) -> Path:
    return unpacked(Checkpoint(folder=folder), cache_dir, on_progress).folder


def folders(cache_dir: Path) -> list[Path]:
    return [path for path in cache_dir.iterdir() if path.is_dir()]


def unpacking_processes() -> list[psutil.Process]:
    children = psutil.Process().children()
    # as_dict takes a zombie, which has no command line; cmdline() raises.
    commands = [(child, child.as_dict(["cmdline"], [])["cmdline"]) for child in children]
    return [child for child, command in commands if "engine.four_bit" in command]


def by_definition(packed: torch.Tensor, state: Any) -> torch.Tensor:
    """Each half byte stands for one of 16 values, times the scale of its block."""
    scales = state.absmax
    if state.nested:
        outer = state.state2
        steps = outer.absmax.repeat_interleave(outer.blocksize)[: scales.numel()]
        scales = outer.code[scales.long()] * steps + state.offset
    stored = packed.view(torch.uint8).flatten()
    halves = torch.stack((stored >> 4, stored & 15), dim=1).flatten().long()
    values = state.code[halves] * scales.repeat_interleave(state.blocksize)[: halves.numel()]
    result: torch.Tensor = values.to(state.dtype).reshape(state.shape).cpu()
    return result


@pytest.mark.parametrize(
    "settings",
    [
        {"bnb_4bit_use_double_quant": False},
        {"bnb_4bit_use_double_quant": True},
        {"bnb_4bit_quant_type": "fp4"},
        {"bnb_4bit_quant_storage": torch.float32},
    ],
    ids=str,
)
def test_unpacked_weights_equal_those_of_the_quantized_layers(
    settings: dict[str, Any], full: Path, quantized: Callable[..., Path], tmp_path: Path
) -> None:
    dequantize(quantized(**settings), tmp_path / "unpacked")
    ours, before = weights(tmp_path / "unpacked"), weights(full)
    assert ours.keys() == before.keys()
    for name, layer in layers(four_bit_model(full, **settings)).items():
        original, weight = before.pop(name), ours[name]
        assert torch.equal(weight, by_definition(layer.weight.data, layer.weight.quant_state))
        assert (weight - original).abs().max() <= FARTHEST * original.abs().max()
    assert len(before) == len(ours) - 14
    assert all(torch.equal(ours[name], weight) for name, weight in before.items())


def test_files_other_than_the_weights_are_copied(
    quantized: Callable[..., Path], tmp_path: Path
) -> None:
    source = quantized()
    folder = tmp_path / "unpacked"
    dequantize(source, folder)
    assert is_four_bit(source)
    assert not is_four_bit(folder)
    for name in ("chat_template.jinja", "generation_config.json"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()


def test_unpacked_weights_have_the_dtype_of_the_configuration(
    quantized: Callable[..., Path], tmp_path: Path
) -> None:
    source = quantized()
    for name in ("float32", "bfloat16"):
        change(source / "config.json", dtype=name)
        dequantize(source, tmp_path / name)
        assert weights(tmp_path / name)[WEIGHT].dtype == getattr(torch, name)


def test_an_adapter_of_a_quantized_base_is_merged_into_the_unpacked_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model: Any = AutoModelForCausalLM.from_config(SMALL_LLAMA)  # type: ignore[no-untyped-call]
    model.save_pretrained(tmp_path / "full")
    base = four_bit_model(tmp_path / "full")
    base.save_pretrained(tmp_path / "base")
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    trained = peft.get_peft_model(base, lora)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    trained.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=False)
    dequantize(tmp_path / "base", tmp_path / "unpacked")
    files = VersionFiles(weights=tmp_path / "unpacked", tokenizer=tmp_path)
    served = load(files.model_copy(update={"adapter": tmp_path / "adapter"}))
    prompt = torch.tensor([[3, 5, 7, 11, 13]], device=served.device)
    with torch.inference_mode():
        expected = trained.eval()(prompt).logits
        torch.testing.assert_close(served(prompt).logits, expected, rtol=0.01, atol=0.01)
        assert not torch.allclose(load(files)(prompt).logits, expected, atol=0.05)


def test_an_unpacked_real_base_answers(four_bit_base: Path, tmp_path: Path) -> None:
    folder = unpack(four_bit_base, tmp_path)
    ours, stored = weights(folder), weights(four_bit_base)
    assert len(ours) == 272
    for name in (name for name in ours if name.endswith("_proj.weight")):
        parts = {part: value for part, value in stored.items() if part.startswith(f"{name}.")}
        state = QuantState.from_dict(parts, torch.device("cpu"))
        assert torch.equal(ours[name], dequantize_4bit(stored[name], state))
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    question = [{"role": "user", "content": "What is the capital of Germany?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert model.dtype == torch.bfloat16
    assert "Berlin" in tokenizer.decode(answer[0])


def test_an_unpacked_checkpoint_is_not_unpacked_again(
    quantized: Callable[..., Path], tmp_path: Path
) -> None:
    source, progress = quantized(), list[str]()
    first = unpack(source, tmp_path / "cache", progress.append)
    assert progress == ["unpacking 20 weights", "unpacked 20 of 20 weights"]
    made = first.stat().st_mtime_ns
    assert unpack(source, tmp_path / "cache", progress.append) == first
    assert first.stat().st_mtime_ns == made
    assert len(progress) == 2


def test_a_different_chat_template_makes_a_different_checkpoint(
    quantized: Callable[..., Path], tmp_path: Path
) -> None:
    source = quantized()
    first = unpack(source, tmp_path / "cache")
    (source / "chat_template.jinja").write_text("another")
    second = unpack(source, tmp_path / "cache")
    assert (first / "chat_template.jinja").read_text() == "the base's"
    assert (second / "chat_template.jinja").read_text() == "another"


def test_two_processes_unpack_a_base_once(quantized: Callable[..., Path], tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(quantized()), str(tmp_path / "cache")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    progress = "".join(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert progress.count("unpacking 20 weights") == 1


def test_a_killed_unpacking_leaves_no_folder(four_bit_base: Path, tmp_path: Path) -> None:
    def kill(_line: str) -> None:
        for process in unpacking_processes():
            process.kill()

    with pytest.raises(PlatformError, match=f"{four_bit_base} ended with status -9"):
        unpack(four_bit_base, tmp_path, kill)
    assert not folders(tmp_path)
    whole = unpack(four_bit_base, tmp_path)
    assert folders(tmp_path) == [whole]


def test_unpacking_ends_with_the_task_that_started_it(four_bit_base: Path, tmp_path: Path) -> None:
    def revoke(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(four_bit_base, tmp_path, revoke)
    assert not unpacking_processes()
    assert not folders(tmp_path)


def without(part: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.pop(part, None)


def cut(part: str) -> Callable[[dict[str, torch.Tensor]], object]:
    def cut_off(tensors: dict[str, torch.Tensor]) -> None:
        if part in tensors:
            tensors[part] = tensors[part][:1].clone()

    return cut_off


def state(**changes: object) -> Callable[[dict[str, torch.Tensor]], object]:
    def change_state(tensors: dict[str, torch.Tensor]) -> None:
        if STATE in tensors:
            stored = json.loads(bytes(tensors[STATE].tolist())) | changes
            tensors[STATE] = torch.tensor(list(json.dumps(stored).encode()), dtype=torch.uint8)

    return change_state


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without(STATE), "Expected packed or unpacked quant_state items"),
        (without(WEIGHT), "the weight or its quant state is missing"),
        (without(f"{WEIGHT}.quant_map"), "KeyError: 'quant_map'"),
        (cut(f"{WEIGHT}.absmax"), "sizes of its parts do not fit"),
        (cut(f"{WEIGHT}.nested_quant_map"), "sizes of its parts do not fit"),
        (cut(WEIGHT), "sizes of its parts do not fit"),
        (cut(STATE), "JSONDecodeError"),
        (state(dtype="nonsense"), "AttributeError"),
        (state(shape=[48, 64]), "sizes of its parts do not fit"),
        (state(blocksize=0), "ZeroDivisionError"),
        (state(blocksize=48), "sizes of its parts do not fit"),
    ],
    ids=[
        *("no state", "no weight", "no map", "short scales", "short map", "short weight"),
        *("no JSON", "no type", "another shape", "no block", "another block"),
    ],
)
def test_a_broken_base_is_refused_by_name(
    damage: Callable[[dict[str, torch.Tensor]], object],
    reason: str,
    quantized: Callable[..., Path],
    tmp_path: Path,
) -> None:
    source = quantized(bnb_4bit_use_double_quant=True)
    for file in source.glob("*.safetensors"):
        tensors = load_file(file)
        damage(tensors)
        save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ArtifactError) as caught:
        dequantize(source, tmp_path / "unpacked")
    assert f"The 4-bit base {source} cannot be unpacked at {WEIGHT}" in str(caught.value)
    assert reason in str(caught.value)


def test_a_refusal_of_the_unpacking_process_is_an_artifact_error(
    quantized: Callable[..., Path], tmp_path: Path
) -> None:
    source = quantized()
    for file in source.glob("*.safetensors"):
        tensors = load_file(file)
        without(STATE)(tensors)
        save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=f"The 4-bit base {source} cannot be unpacked"):
        unpack(source, tmp_path / "cache")
    assert not folders(tmp_path / "cache")


def test_a_missing_bitsandbytes_is_a_configuration_error(
    quantized: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = quantized()
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigurationError, match="bitsandbytes"):
        unpack(source, tmp_path / "cache")


def test_a_checkpoint_in_8_bits_is_not_unpacked(full: Path) -> None:
    assert not is_four_bit(full)
    change(full / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    assert not is_four_bit(full)
