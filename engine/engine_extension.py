"""Extends vLLM's worker: streams a model version into it and computes fingerprints.

vLLM adds this class to its worker (``--worker-extension-cls``). It therefore runs in the engine's
processes, once per GPU, and is called through ``/collective_rpc``. It passes ``reload_weights`` a
stream of merged tensors instead of a folder, so there is no second copy of the model on disk or in
memory.
"""

from pathlib import Path
from typing import Any

import torch
from vllm.model_executor.layers.linear import LinearBase

from engine.artifact import Adapter, Checkpoint, read_adapter_config
from engine.merge import NamedTensors, merged_tensors, stored_tensors
from engine.weight_digest import WeightDigest

# A convolution's weight has more dimensions and does not accept a vector.
_MATRIX = 2


class VersionLoader:
    """The methods that are added to vLLM's worker."""

    model_runner: Any
    device: torch.device

    def load_version(self, base: str, adapter: str | None) -> str:
        """Replace every weight with those of a version of the same architecture.

        Args:
            base: Checkpoint folder.
            adapter: Folder of an adapter to merge into it, or None.

        Returns:
            Digest of the weights that were read, in the engine's type.
        """
        digest = WeightDigest()
        read = self._digested(self._read(base, adapter), digest)
        self.model_runner.reload_weights(weights_iterator=read)
        return digest.hexdigest()

    def stored_digest(self, base: str) -> str:
        """The digest that ``load_version`` would return for a checkpoint, without loading it."""
        digest = WeightDigest()
        for _ in self._digested(self._read(base, None), digest):
            pass
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """Digest of this worker's parameters, as vLLM has sharded, fused and converted them.

        On a CPU some kernels compute with packed copies that are not parameters. There the digest
        includes each linear layer's output for a fixed input.
        """
        model, digest = self.model_runner.get_model(), WeightDigest()
        for name, parameter in model.named_parameters():
            digest.add(name, parameter)
        if self.device.type == "cpu":
            for name, module in model.named_modules():
                if isinstance(module, LinearBase) and _is_matrix(module):
                    digest.add(f"{name}(x)", _output(module))
        return digest.hexdigest()

    def _read(self, base: str, adapter: str | None) -> NamedTensors:
        checkpoint = Checkpoint(folder=Path(base))
        if adapter is None:
            return stored_tensors(checkpoint)
        folder = Path(adapter)
        version = Adapter(folder=folder, config=read_adapter_config(folder))
        return merged_tensors(version, checkpoint, self.device)

    def _digested(self, tensors: NamedTensors, digest: WeightDigest) -> NamedTensors:
        """Pass tensors through and add them to the digest in the engine's type."""
        dtype = self.model_runner.model_config.dtype
        for name, tensor in tensors:
            digest.add(name, tensor.to(dtype) if tensor.is_floating_point() else tensor)
            yield name, tensor


def _is_matrix(layer: Any) -> bool:
    return bool(layer.weight.ndim <= _MATRIX)


def _output(layer: LinearBase) -> torch.Tensor:
    size = getattr(layer, "input_size_per_partition", layer.input_size)
    fixed = torch.linspace(-1, 1, size, dtype=layer.params_dtype)
    output: torch.Tensor = layer.quant_method.apply(layer, fixed[None])
    return output
