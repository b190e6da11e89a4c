"""The command lines and the environment of the model servers.

Source: docs/upstream/models-and-engines.md, "vLLM on a CPU" and "Starting the server".
"""

import os
import sys
from collections.abc import Mapping

from engine.options import ServeOptions
from engine.serving_method import Machine, ServingMethod
from engine.version import Version
from schemas.settings import Settings

# vLLM serves every version under this name; only this project knows the version's own name.
SERVED_MODEL = "weighbridge"

_MODULE = (sys.executable, "-P", "-m")
_VLLM = "vllm.entrypoints.openai.api_server"

# The smallest block size of the CPU kernels. With the default of 128 tokens, prompts rarely share a
# block, and each row computes its prefix again (docs/performance.md).
_ON_CPU = ("--enforce-eager", "--block-size", "32")

# On a CPU, vLLM compiles only the ranking of tokens. That needs a C++ compiler, which a machine may
# not have, and delays the first answer by seconds.
_UNCOMPILED = {"TORCH_COMPILE_DISABLE": "1"}

# On a CPU, vLLM computes in a second process, and each of the two spins while it waits for the
# other. One process starts in two thirds of the time and needs less of the cores, which it shares
# with the evaluation (docs/upstream/models-and-engines.md). vLLM does not choose it by itself,
# because nothing then binds the threads to cores.
_ONE_PROCESS = ("--distributed-executor-backend", "uni")
_IN_ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_WAIT_POLICY": "passive"}

_BINDING = "VLLM_CPU_OMP_THREADS_BIND"  # which thread runs on which core
_UNBOUND = "nobind"

# The engine needs no secrets of W&B and Celery, and with VLLM_API_KEY it would refuse our calls.
_NOT_INHERITED = ("WANDB_", "WEAVE_", "CELERY_", "WEIGHBRIDGE_", "VLLM_API_KEY")


def program(method: ServingMethod, version: Version) -> list[str]:
    """The start of a server's command line: the program and the model."""
    if method is ServingMethod.TRANSFORMERS:
        return [*_MODULE, "engine.transformers_server"]
    weights, tokenizer = str(version.base.folder), str(version.tokenizer)
    return [*_MODULE, _VLLM, "--model", weights, "--tokenizer", tokenizer]


def flags(
    method: ServingMethod, options: ServeOptions, settings: Settings, machine: Machine
) -> list[str]:
    """A server's other arguments, without the socket; part of the engine's identity."""
    if method is ServingMethod.TRANSFORMERS:
        return _length(settings)
    return [
        *("--served-model-name", SERVED_MODEL),
        *(_length(settings) or ["--max-model-len", "auto"]),
        *("--load-format", settings.load_format),
        *("--tensor-parallel-size", str(settings.tensor_parallel_size)),
        # Every version has vLLM's sampling defaults and may send its own chat template.
        *("--generation-config", "vllm", "--trust-request-chat-template"),
        *("--worker-extension-cls", "engine.engine_extension.VersionLoader"),
        "--enable-prefix-caching",
        "--disable-uvicorn-access-log",
        "--disable-log-stats",
        *(["--trust-remote-code"] if options.trust_remote_code else []),
        *(["--dtype", options.dtype] if options.dtype else []),
        *(["--quantization", "bitsandbytes"] if options.quantize else []),
        *(_lora(settings) if settings.side_by_side > 1 or method is ServingMethod.LORA else []),
        *(_on_cuda(settings) if machine.cuda else _ON_CPU),
        *(_ONE_PROCESS if _is_one_process(settings, machine) else ()),
    ]


def _is_one_process(settings: Settings, machine: Machine) -> bool:
    is_bound = os.environ.get(_BINDING, _UNBOUND) != _UNBOUND
    return not (machine.cuda or is_bound or settings.tensor_parallel_size > 1)


def _length(settings: Settings) -> list[str]:
    return ["--max-model-len", str(settings.max_model_len)] if settings.max_model_len else []


def _lora(settings: Settings) -> list[str]:
    return [
        "--enable-lora",
        *("--max-loras", str(settings.side_by_side)),
        *("--max-lora-rank", str(settings.max_lora_rank)),
    ]


def _on_cuda(settings: Settings) -> list[str]:
    return ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]


def environment(settings: Settings) -> dict[str, str]:
    """The server's environment: this process's without the secrets, plus vLLM's settings.

    Returns:
        Every variable of the new process. The engine is reachable only from this machine, reports
        no usage, and uses every core that this process may use (vLLM itself would leave one idle)
        unless ``VLLM_CPU_OMP_THREADS_BIND`` says otherwise. ``CUDA_VISIBLE_DEVICES`` is passed on.
    """
    machine = Machine.current()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
    return inherited | {
        "VLLM_SERVER_DEV_MODE": "1",  # /collective_rpc and /reset_prefix_cache
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",  # /v1/load_lora_adapter
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(settings.compile_cache_dir),
        "TORCHINDUCTOR_CACHE_DIR": str(settings.compile_cache_dir / "inductor"),
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(settings.kv_cache_gib),
        **(_IN_ONE_PROCESS if _is_one_process(settings, machine) else {}),
        **_cores(inherited),
        **({} if machine.cuda else _UNCOMPILED),
    }


def _cores(inherited: Mapping[str, str]) -> dict[str, str]:
    # macOS has no affinity, and there is no vLLM for it.
    if _BINDING in inherited or not hasattr(os, "sched_getaffinity"):
        return {}
    cores = sorted(os.sched_getaffinity(0))
    return {_BINDING: ",".join(map(str, cores)), "OMP_NUM_THREADS": str(len(cores))}
