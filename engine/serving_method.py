"""Chooses the method by which a version is served."""

import subprocess
import sys
from enum import Enum
from functools import cache
from importlib.util import find_spec

from pydantic import BaseModel, ConfigDict

from engine.adapter_fit import is_mergeable
from engine.artifact import Adapter
from engine.options import ServeOptions
from engine.version import Version
from schemas.errors import ConfigurationError
from schemas.settings import Settings


class ServingMethod(Enum):
    """How a version is loaded into an engine."""

    RELOAD = "a running vLLM reloads its weights; an adapter is merged into its base"
    LORA = "vLLM loads the adapter as LoRA, side by side with others"
    START = "vLLM is started with it"
    TRANSFORMERS = "the transformers server loads it"


class Machine(BaseModel):
    """The machine, as far as the choice depends on it.

    Attributes:
        vllm: Whether vLLM is installed.
        cuda: Whether there is a CUDA device.
    """

    model_config = ConfigDict(frozen=True)

    vllm: bool
    cuda: bool

    @classmethod
    def current(cls) -> "Machine":
        """The machine on which this process runs."""
        return cls(vllm=find_spec("vllm") is not None, cuda=_has_cuda())


@cache
def _has_cuda() -> bool:
    """Ask torch, in a process of its own: a worker loads neither torch nor the CUDA driver."""
    program = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-P", "-c", program], check=False).returncode == 0


def choose_method(
    version: Version, options: ServeOptions, settings: Settings, machine: Machine
) -> ServingMethod:
    """Choose how a version is served; the first line that applies decides.

    | version and machine                                               | method         |
    |-------------------------------------------------------------------|----------------|
    | `cm_quantize` without CUDA or without vLLM                        | refused        |
    | vLLM is not installed (macOS, ARM)                                | `TRANSFORMERS` |
    | `cm_quantize` and a LoRA adapter whose rank is not too high       | `LORA`         |
    | `cm_quantize` and any other adapter                               | refused        |
    | `cm_quantize` and a checkpoint                                    | `START`        |
    | an adapter that is more than W + s * B @ A of a stored weight     |                |
    | (DoRA, IA3, a module that the base stores under another name)     | `TRANSFORMERS` |
    | an adapter whose rank is not too high, `concurrent`, and          |                |
    | `side_by_side` > 1                                                | `LORA`         |
    | any other adapter or checkpoint                                   | `RELOAD`       |

    An adapter over a 4-bit base needs no line, because ``unpack`` dequantizes the base first.

    Raises:
        ConfigurationError: The gate or the published ChatModel requires what this machine lacks.
    """
    if options.quantize and not (machine.cuda and machine.vllm):
        raise ConfigurationError(
            "cm_quantize loads the weights in 4 bits with bitsandbytes, which needs CUDA and vLLM; "
            "this worker does not have both.",
            fix="Set cm_quantize: false under chat_model in the gate, or run a worker on a GPU.",
        )
    adapter = version.adapter
    if not machine.vllm:
        return ServingMethod.TRANSFORMERS
    plain = adapter is not None and is_mergeable(adapter, version.base)
    if options.quantize:
        return _quantized(adapter, settings, plain=plain)
    if adapter and not plain:
        return ServingMethod.TRANSFORMERS
    if (
        adapter
        and options.concurrent
        and settings.side_by_side > 1
        and _rank_fits(adapter, settings)
    ):
        return ServingMethod.LORA
    return ServingMethod.RELOAD


def _quantized(adapter: Adapter | None, settings: Settings, *, plain: bool) -> ServingMethod:
    if adapter is None:
        return ServingMethod.START
    if plain and _rank_fits(adapter, settings):
        return ServingMethod.LORA
    raise ConfigurationError(
        f"cm_quantize needs a plain LoRA adapter of a rank of at most {settings.max_lora_rank}; "
        f"{adapter.folder} has rank {_rank(adapter)} and uses "
        f"{', '.join(adapter.config.unmergeable()) or 'nothing else'}.",
        fix="Set cm_quantize: false under chat_model in the gate, or raise "
        "WEIGHBRIDGE_MAX_LORA_RANK.",
    )


def _rank_fits(adapter: Adapter, settings: Settings) -> bool:
    return _rank(adapter) <= settings.max_lora_rank


def _rank(adapter: Adapter) -> int:
    return max([adapter.config.r, *adapter.config.rank_pattern.values()])
