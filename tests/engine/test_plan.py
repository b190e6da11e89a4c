"""Which versions can share a running engine, and how an engine is started for them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.command import environment, flags
from engine.options import ServeOptions
from engine.plan import Plan
from engine.serving_method import Machine, ServingMethod
from engine.version import Version
from schemas.errors import ConfigurationError
from schemas.settings import Settings

MakeAdapter = Callable[..., Path]


@pytest.fixture
def base(tiny_models: Path) -> Path:
    folder = tiny_models / "team" / "tiny"
    (folder / "tokenizer.json").write_text('{"model": {}}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def plan(folder: Path, settings: Settings, options: ServeOptions | None = None) -> Plan:
    return Plan.make(Version.open(folder, settings), options or ServeOptions(), settings)


def test_adapters_and_their_base_share_an_engine(
    base: Path, tiny_adapter: MakeAdapter, tiny_settings: Settings
) -> None:
    first, second = (plan(tiny_adapter(r=rank), tiny_settings) for rank in (2, 4))
    assert first.identity == second.identity == plan(base, tiny_settings).identity


@pytest.mark.parametrize(
    "change",
    [
        {"max_model_len": 64},
        {"kv_cache_gib": 2},
        {"load_format": "auto"},
        {"tensor_parallel_size": 2},
        {"side_by_side": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_settings_need_another_engine(
    change: dict[str, object], base: Path, tiny_settings: Settings
) -> None:
    changed = tiny_settings.model_copy(update=change)
    assert plan(base, tiny_settings).identity != plan(base, changed).identity


def test_another_device_needs_another_engine(
    base: Path, tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan(base, tiny_settings).identity
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert plan(base, tiny_settings).identity != before


@pytest.mark.parametrize("dtype", [None, "float32", "torch.float32"])
def test_the_checkpoints_own_dtype_changes_nothing(
    dtype: str | None, base: Path, tiny_settings: Settings
) -> None:
    assert json.loads((base / "config.json").read_text())["dtype"] == "float32"
    requested = plan(base, tiny_settings, ServeOptions(dtype=dtype))
    assert requested.identity == plan(base, tiny_settings).identity


def test_another_dtype_is_passed_to_the_engine(base: Path, tiny_settings: Settings) -> None:
    requested = plan(base, tiny_settings, ServeOptions(dtype="torch.bfloat16"))
    assert requested.command[requested.command.index("--dtype") + 1] == "bfloat16"
    assert requested.identity != plan(base, tiny_settings).identity


def test_an_unknown_dtype_is_refused_before_a_start(base: Path, tiny_settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="has the unknown dtype bf16"):
        plan(base, tiny_settings, ServeOptions(dtype="bf16"))


def test_different_trusted_code_needs_another_engine(base: Path, tiny_settings: Settings) -> None:
    trusting = ServeOptions(trust_remote_code=True)

    def identity(code: str) -> str:
        (base / "modeling_tiny.py").write_text(code)
        version = Version.open(base, tiny_settings, trust_remote_code=True)
        return Plan.make(version, trusting, tiny_settings).identity

    assert identity("x = 1") != identity("x = 2")


def test_remote_code_is_off_by_default(base: Path, tiny_settings: Settings) -> None:
    trusting = plan(base, tiny_settings, ServeOptions(trust_remote_code=True))
    assert "--trust-remote-code" in trusting.command
    assert "--trust-remote-code" not in plan(base, tiny_settings).command


def test_a_gpu_has_a_memory_limit_and_a_cpu_no_graphs(tiny_settings: Settings) -> None:
    on_gpu, on_cpu = (
        flags(ServingMethod.RELOAD, ServeOptions(), tiny_settings, Machine(vllm=True, cuda=cuda))
        for cuda in (True, False)
    )
    assert "--gpu-memory-utilization" in on_gpu
    assert "--enforce-eager" not in on_gpu
    assert "--enforce-eager" in on_cpu


def test_a_cpu_engine_needs_no_compiler(tiny_settings: Settings) -> None:
    compiles = environment(tiny_settings).get("TORCH_COMPILE_DISABLE") != "1"
    assert compiles == Machine.current().cuda


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinity")
def test_a_cpu_engine_uses_every_core_unless_the_operator_says_otherwise(
    tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    variables, cores = environment(tiny_settings), os.sched_getaffinity(0)
    bound = {int(one) for one in variables["VLLM_CPU_OMP_THREADS_BIND"].split(",")}
    assert bound == cores
    assert variables["OMP_NUM_THREADS"] == str(len(cores))
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    variables = environment(tiny_settings)
    assert variables["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert variables["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize(
    ("binding", "parallel", "cuda", "expected"),
    [
        (None, 1, False, True),
        ("nobind", 1, False, True),
        ("0-3", 1, False, False),  # only vLLM's own processes bind their threads
        (None, 2, False, False),
        (None, 1, True, False),
    ],
)
def test_a_cpu_engine_is_one_process_unless_its_threads_are_bound_or_it_is_parallel(
    tiny_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    binding: str | None,
    parallel: int,
    cuda: bool,
    expected: bool,
) -> None:
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    if binding:
        monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", binding)
    settings = tiny_settings.model_copy(update={"tensor_parallel_size": parallel})
    arguments = flags(ServingMethod.RELOAD, ServeOptions(), settings, Machine(vllm=True, cuda=cuda))
    assert ("uni" in arguments) == expected


def test_quantized_weights_are_loaded_by_bitsandbytes(tiny_settings: Settings) -> None:
    options = ServeOptions(quantize=True)
    arguments = flags(ServingMethod.LORA, options, tiny_settings, Machine(vllm=True, cuda=True))
    assert arguments[arguments.index("--quantization") + 1] == "bitsandbytes"
    assert "--enable-lora" in arguments


def test_the_engine_inherits_devices_and_no_secrets(
    tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("WANDB_API_KEY", "local-0123456789")
    inherited = environment(tiny_settings)
    assert inherited["CUDA_VISIBLE_DEVICES"] == "3"
    assert "WANDB_API_KEY" not in inherited
    assert inherited["VLLM_CACHE_ROOT"] == str(tiny_settings.compile_cache_dir)
