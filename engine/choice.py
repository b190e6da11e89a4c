"""Chooses how a version is served."""

from enum import Enum
from importlib.util import find_spec

from pydantic import BaseModel, ConfigDict

from engine.artifact import Adapter
from engine.merge import is_mergeable
from engine.options import ServeOptions
from engine.version import Version
from schemas.errors import ConfigurationError
from schemas.settings import Settings


class ServingMethod(Enum):
    """How a version gets into an engine."""

    RELOAD = "its weights are exchanged inside vLLM, an adapter merged into its base on the way"
    LORA = "vLLM loads the adapter beside others"
    START = "vLLM is started on it"
    TRANSFORMERS = "the transformers server loads it"


class Machine(BaseModel):
    """What this machine has.

    Attributes:
        vllm: Whether vLLM is installed.
        cuda: Whether there is a CUDA device.
    """

    model_config = ConfigDict(frozen=True)

    vllm: bool
    cuda: bool

    @classmethod
    def this(cls) -> "Machine":
        """The machine that this process runs on."""
        import torch

        return cls(vllm=find_spec("vllm") is not None, cuda=torch.cuda.is_available())


def choose(
    version: Version, options: ServeOptions, settings: Settings, machine: Machine
) -> ServingMethod:
    """Choose how a version is served; the first line that fits decides.

    | the version, the machine                                       | way            |
    |----------------------------------------------------------------|----------------|
    | `cm_quantize` without CUDA or without vLLM                      | refused        |
    | vLLM is not installed (macOS, ARM)                              | `TRANSFORMERS` |
    | `cm_quantize`, and a LoRA adapter whose rank is in bounds       | `LORA`         |
    | `cm_quantize`, and any other adapter                            | refused        |
    | `cm_quantize`, and a checkpoint                                 | `START`        |
    | an adapter that is more than W + s * B @ A of a stored weight   |                |
    | (DoRA, IA3, a module that the base stores under another name)   | `TRANSFORMERS` |
    | an adapter, others wait, `side_by_side` > 1, its rank in bounds | `LORA`         |
    | any other adapter, any other checkpoint                         | `RELOAD`       |

    An adapter over a 4-bit base is one over that base unpacked (``unpack``), so it has no line.

    Raises:
        ConfigurationError: The gate or the published ChatModel asks for what this machine lacks.
    """
    if options.quantize and not (machine.cuda and machine.vllm):
        raise ConfigurationError(
            "cm_quantize loads the weights in 4 bits with bitsandbytes, which needs CUDA and vLLM; "
            "this worker has not both.",
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
    if adapter and options.together and settings.side_by_side > 1 and _in_bounds(adapter, settings):
        return ServingMethod.LORA
    return ServingMethod.RELOAD


def _quantized(adapter: Adapter | None, settings: Settings, *, plain: bool) -> ServingMethod:
    if adapter is None:
        return ServingMethod.START
    if plain and _in_bounds(adapter, settings):
        return ServingMethod.LORA
    raise ConfigurationError(
        f"cm_quantize needs a plain LoRA adapter of a rank of at most {settings.max_lora_rank}; "
        f"{adapter.folder} has rank {_rank(adapter)} and uses "
        f"{', '.join(adapter.config.unmergeable()) or 'nothing else'}.",
        fix="Set cm_quantize: false under chat_model in the gate, or raise "
        "WEIGHBRIDGE_MAX_LORA_RANK.",
    )


def _in_bounds(adapter: Adapter, settings: Settings) -> bool:
    return _rank(adapter) <= settings.max_lora_rank


def _rank(adapter: Adapter) -> int:
    return max([adapter.config.r, *adapter.config.rank_pattern.values()])
