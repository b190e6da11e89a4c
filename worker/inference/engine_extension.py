"""What Weighbridge adds to vLLM's worker: a model version is streamed into it, and checked.

vLLM mixes this class into its worker (``--worker-extension-cls``), so it runs in the engine's
processes, once for each GPU, and is called through ``/collective_rpc``. It gives
``reload_weights`` a stream of merged tensors instead of a folder: no second copy of the model, on
the disk or in memory.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from vllm.model_executor.layers.linear import LinearBase

from worker.inference.artifact import Adapter, Checkpoint, read_adapter_config
from worker.inference.merge import NamedTensors, merged_tensors, stored_tensors

_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class VersionLoader:
    """Methods that vLLM's worker gains."""

    model_runner: Any
    device: torch.device

    def load_version(self, base: str, adapter: str | None) -> str:
        """Replace every weight by those of a version of the same architecture.

        Args:
            base: Checkpoint folder.
            adapter: Folder of an adapter that is merged into it, or None.

        Returns:
            Digest of the weights that were read.
        """
        digest = _Digest()
        self.model_runner.reload_weights(weights_iterator=digest.of(self._read(base, adapter)))
        return digest.hexdigest()

    def stored_digest(self, base: str) -> str:
        """What ``load_version`` would return for a checkpoint, without loading it."""
        digest = _Digest()
        for name, tensor in self._read(base, None):
            digest.add(name, tensor)
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """Digest of what this worker holds, sharded, fused and converted as it is.

        Parameters count as they lie in memory, and linear layers by their answer to a fixed input
        as well: some kernels compute with packed copies of their own (on the CPU), which no
        parameter shows.
        """
        model, digest = self.model_runner.get_model(), _Digest()
        for name, parameter in model.named_parameters():
            digest.add(name, parameter)
        for name, module in model.named_modules():
            if isinstance(module, LinearBase):
                digest.add(f"{name}(x)", _answer(module, self.device))
        return digest.hexdigest()

    def _read(self, base: str, adapter: str | None) -> NamedTensors:
        checkpoint = Checkpoint(folder=Path(base))
        if adapter is None:
            return stored_tensors(checkpoint)
        folder = Path(adapter)
        version = Adapter(folder=folder, config=read_adapter_config(folder))
        return merged_tensors(version, checkpoint, self.device)


def _answer(layer: LinearBase, device: torch.device) -> torch.Tensor:
    size = getattr(layer, "input_size_per_partition", layer.input_size)
    fixed = torch.linspace(-1, 1, size, dtype=layer.params_dtype, device=device)
    answer: torch.Tensor = layer.quant_method.apply(layer, fixed[None])
    return answer


class _Digest:
    """SHA-256 over every tensor's name and the sum of its bits, taken where the tensor lies.

    The sum is exact, and as fast as memory is read; hashing the bytes would take minutes for a
    model of a hundred gigabytes.
    """

    def __init__(self) -> None:
        self._sums: list[str] = []

    def of(self, tensors: NamedTensors) -> NamedTensors:
        """Pass tensors through and take note of them."""
        for name, tensor in tensors:
            self.add(name, tensor)
            yield name, tensor

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take note of a tensor."""
        words = tensor.detach().contiguous().view(_WORDS[tensor.element_size()])
        self._sums.append(f"{name} {tuple(tensor.shape)} {words.sum(dtype=torch.int64).item()}")

    def hexdigest(self) -> str:
        """The digest of all that was added, in whatever order."""
        return hashlib.sha256("\n".join(sorted(self._sums)).encode()).hexdigest()
