"""A checkpoint in 4 bits becomes an ordinary one: exactly, once, and never in parts."""

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
from engine.four_bit import dequantise
from engine.options import ignore_progress
from engine.transformers_loading import VersionFiles, load
from engine.unpack import is_four_bit, unpacked
from schemas.errors import ArtifactError, ConfigurationError, PlatformError

PROGRAM = """
import sys; from pathlib import Path
from engine.artifact import Checkpoint
from engine.unpack import unpacked
tell = lambda line: print(line, flush=True)
unpacked(Checkpoint(folder=Path(sys.argv[1])), Path(sys.argv[2]), tell)
"""
WEIGHT = "model.layers.0.mlp.up_proj.weight"
STATE = f"{WEIGHT}.quant_state.bitsandbytes__nf4"
# Half of the widest gap between neighbours of the 16 values, by which a value can be off; the
# scales are in 8 bits, too, with double quantisation.
FARTHEST = 0.17


# bitsandbytes' own layers want these sizes on the CPU.
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
def quantised(full: Path, tmp_path: Path) -> Callable[..., Path]:
    """Has transformers write the tiny model in 4 bits, so cut that the parts lie in many files."""

    def save(**settings: Any) -> Path:
        model = four_bit_model(full, **settings)
        folder = tmp_path / "four-bit"
        model.save_pretrained(folder, max_shard_size="2KB")
        (folder / "chat_template.jinja").write_text("the base's")
        return folder

    return save


@pytest.fixture(scope="module")
def four_bit_base(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as unsloth publishes its bases: NF4, double quantisation."""
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
    """The quantised layers of a model, by the names of their weights."""
    modules = model.named_modules()
    return {f"{name}.weight": one for name, one in modules if isinstance(one, Linear4bit)}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    files = checkpoint.weight_files(folder)
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def unpack(folder: Path, cache_dir: Path, tell: Callable[[str], None] = ignore_progress) -> Path:
    return unpacked(Checkpoint(folder=folder), cache_dir, tell).folder


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
def test_weights_are_what_the_quantised_layers_stand_for(
    settings: dict[str, Any], full: Path, quantised: Callable[..., Path], tmp_path: Path
) -> None:
    dequantise(quantised(**settings), tmp_path / "unpacked")
    ours, before = weights(tmp_path / "unpacked"), weights(full)
    assert ours.keys() == before.keys()
    for name, layer in layers(four_bit_model(full, **settings)).items():
        original, weight = before.pop(name), ours[name]
        assert torch.equal(weight, by_definition(layer.weight.data, layer.weight.quant_state))
        assert (weight - original).abs().max() <= FARTHEST * original.abs().max()
    assert len(before) == len(ours) - 14
    assert all(torch.equal(ours[name], weight) for name, weight in before.items())


def test_what_lies_beside_the_weights_comes_along(
    quantised: Callable[..., Path], tmp_path: Path
) -> None:
    source = quantised()
    folder = tmp_path / "unpacked"
    dequantise(source, folder)
    assert is_four_bit(source)
    assert not is_four_bit(folder)
    for name in ("chat_template.jinja", "generation_config.json"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()


def test_weights_get_the_type_that_the_configuration_names(
    quantised: Callable[..., Path], tmp_path: Path
) -> None:
    source = quantised()
    for name in ("float32", "bfloat16"):
        change(source / "config.json", dtype=name)
        dequantise(source, tmp_path / name)
        assert weights(tmp_path / name)[WEIGHT].dtype == getattr(torch, name)


def test_an_adapter_of_a_quantised_base_is_merged_into_the_unpacked_one(tmp_path: Path) -> None:
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
    dequantise(tmp_path / "base", tmp_path / "unpacked")
    files = VersionFiles(weights=tmp_path / "unpacked", tokenizer=tmp_path)
    served = load(files.model_copy(update={"adapter": tmp_path / "adapter"}))
    prompt = torch.tensor([[3, 5, 7, 11, 13]], device=served.device)
    with torch.inference_mode():
        expected = trained.eval()(prompt).logits
        torch.testing.assert_close(served(prompt).logits, expected, rtol=0.01, atol=0.01)
        assert not torch.allclose(load(files)(prompt).logits, expected, atol=0.05)


def test_a_real_base_still_answers_when_it_is_unpacked(four_bit_base: Path, tmp_path: Path) -> None:
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


def test_a_second_call_does_nothing(quantised: Callable[..., Path], tmp_path: Path) -> None:
    source, told = quantised(), list[str]()
    first = unpack(source, tmp_path / "cache", told.append)
    assert told == ["unpacking 20 weights", "unpacked 20 of 20 weights"]
    made = first.stat().st_mtime_ns
    assert unpack(source, tmp_path / "cache", told.append) == first
    assert first.stat().st_mtime_ns == made
    assert len(told) == 2


def test_another_chat_template_is_another_checkpoint(
    quantised: Callable[..., Path], tmp_path: Path
) -> None:
    source = quantised()
    first = unpack(source, tmp_path / "cache")
    (source / "chat_template.jinja").write_text("another")
    second = unpack(source, tmp_path / "cache")
    assert (first / "chat_template.jinja").read_text() == "the base's"
    assert (second / "chat_template.jinja").read_text() == "another"


def test_two_processes_do_it_once(quantised: Callable[..., Path], tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(quantised()), str(tmp_path / "cache")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = "".join(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert told.count("unpacking 20 weights") == 1


def test_an_unpacking_that_is_killed_leaves_nothing_that_counts(
    four_bit_base: Path, tmp_path: Path
) -> None:
    def kill(_line: str) -> None:
        for process in unpacking_processes():
            process.kill()

    with pytest.raises(PlatformError, match=f"{four_bit_base} ended with status -9"):
        unpack(four_bit_base, tmp_path, kill)
    assert not folders(tmp_path)
    whole = unpack(four_bit_base, tmp_path)
    assert folders(tmp_path) == [whole]


def test_unpacking_ends_with_the_task_that_asked_for_it(
    four_bit_base: Path, tmp_path: Path
) -> None:
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
    quantised: Callable[..., Path],
    tmp_path: Path,
) -> None:
    source = quantised(bnb_4bit_use_double_quant=True)
    for file in source.glob("*.safetensors"):
        tensors = load_file(file)
        damage(tensors)
        save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ArtifactError) as caught:
        dequantise(source, tmp_path / "unpacked")
    assert f"The 4-bit base {source} cannot be unpacked at {WEIGHT}" in str(caught.value)
    assert reason in str(caught.value)


def test_what_the_unpacking_process_refuses_the_worker_refuses(
    quantised: Callable[..., Path], tmp_path: Path
) -> None:
    source = quantised()
    for file in source.glob("*.safetensors"):
        tensors = load_file(file)
        without(STATE)(tensors)
        save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=f"The 4-bit base {source} cannot be unpacked"):
        unpack(source, tmp_path / "cache")
    assert not folders(tmp_path / "cache")


def test_without_bitsandbytes_the_operator_is_told(
    quantised: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = quantised()
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigurationError, match="bitsandbytes"):
        unpack(source, tmp_path / "cache")


def test_eight_bits_are_not_four(full: Path) -> None:
    assert not is_four_bit(full)
    change(full / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    assert not is_four_bit(full)
