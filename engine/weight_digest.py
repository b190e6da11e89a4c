"""Names weights, wherever they lie."""

import hashlib

import torch

# Integers as wide as an element, by bytes.
_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class WeightDigest:
    """SHA-256 over every tensor's name, shape and the sum of its bits, taken where it lies.

    The sum is exact, and as fast as memory is read; hashing the bytes would take minutes for a
    model of a hundred gigabytes.
    """

    def __init__(self) -> None:
        self._sums: list[str] = []

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take note of a tensor."""
        words = tensor.detach().contiguous().view(_WORDS[tensor.element_size()])
        self._sums.append(f"{name} {tuple(tensor.shape)} {words.sum(dtype=torch.int64).item()}")

    def hexdigest(self) -> str:
        """The digest of all that was added, in whatever order."""
        return hashlib.sha256("\n".join(sorted(self._sums)).encode()).hexdigest()
