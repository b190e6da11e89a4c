"""The command line and environment of a vLLM server (facts/models-and-engines.md)."""

import os
import sys
from pathlib import Path

from schemas.settings import Settings

# The one name vLLM serves whatever is loaded under; a version's own name is ours to keep.
SERVED_MODEL = "weighbridge"

# W&B's and Celery's secrets are none of the engine's business, and a key would lock us out.
_NOT_INHERITED = ("WANDB_", "WEAVE_", "CELERY_", "WEIGHBRIDGE_", "VLLM_API_KEY")


def arguments(settings: Settings, weights: Path, tokenizer: Path) -> list[str]:
    """The server's command line, without the socket.

    Args:
        settings: The operator's choices.
        weights: Checkpoint folder that is loaded at the start.
        tokenizer: Folder of its tokenizer.

    Returns:
        Program and arguments. Every version gets the same sampling defaults (vLLM's, not those
        of a generation_config.json), and may send its own chat template.
    """
    import torch  # here: a worker that only ends its engine does not need it

    on_cuda = ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]
    return [
        *(sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(weights), "--tokenizer", str(tokenizer)),
        *("--served-model-name", SERVED_MODEL),
        *("--max-model-len", str(settings.max_model_len)),
        *("--load-format", "safetensors"),
        *("--generation-config", "vllm"),
        "--trust-request-chat-template",
        "--enable-prefix-caching",
        "--disable-uvicorn-access-log",
        *(on_cuda if torch.cuda.is_available() else ["--enforce-eager"]),
    ]


def environment(settings: Settings) -> dict[str, str]:
    """The server's environment: ours, less the secrets, plus what vLLM needs here.

    Returns:
        Every variable of the new process. The engine stays on this machine, reports nothing,
        and uses every core that this process may use (vLLM alone would leave one idle).
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    return inherited | {
        "VLLM_SERVER_DEV_MODE": "1",  # /collective_rpc and /reset_prefix_cache
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(settings.kv_cache_gib),
        "VLLM_CPU_OMP_THREADS_BIND": cores,
    }
