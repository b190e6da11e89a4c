"""The passages of a RAG application, with the index that finds them."""

from typing import Any, Self

import faiss
import numpy as np
import weave
from weave import Content

from worker.rag.embedding import embed

# Indexes that this process has opened, by the digest of their bytes. They are kept here because
# Weave would try to store what a weave.Object holds.
_opened: dict[str, faiss.Index] = {}


class VectorStore(weave.Object):
    """Passages and a FAISS index over their embeddings, published as one object.

    The index is stored as a file of the object: whoever gets the store searches at once and
    embeds nothing but the question.

    Attributes:
        passages: ``id``, ``title`` and ``text`` of each, in the order of the index.
        embedding_model: Hub id of the sentence-transformers model that made the vectors.
        index: The FAISS index, in its own file format.
    """

    passages: list[dict[str, str]]
    embedding_model: str
    index: Content  # type: ignore[type-arg]  # its parameter is a hint for file types

    @classmethod
    def build(cls, passages: list[dict[str, str]], embedding_model: str) -> Self:
        """Embed passages and index them by cosine similarity (inner product, exact).

        Args:
            passages: ``id``, ``title`` and ``text`` of each; other keys are kept.
            embedding_model: Hub id of a sentence-transformers model.
        """
        vectors = embed([_indexed_text(passage) for passage in passages], embedding_model)
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        stored: Content = Content.from_bytes(  # type: ignore[type-arg]
            faiss.serialize_index(index).tobytes(),
            extension="faiss",
            mimetype="application/octet-stream",
        )
        return cls(passages=passages, embedding_model=embedding_model, index=stored)

    def search(self, question: str, n_documents: int) -> list[dict[str, Any]]:
        """Find the passages nearest to a question.

        Args:
            question: What is asked.
            n_documents: How many passages at most.

        Returns:
            ``id``, ``title``, ``text`` and ``score`` (the cosine) of each, best first.
        """
        vectors = embed([question], str(self.embedding_model))
        scores, rows = self._live_index().search(vectors, min(n_documents, len(self.passages)))
        return [
            _plain(self.passages[row]) | {"score": float(score)}
            for row, score in zip(rows[0], scores[0], strict=True)
        ]

    def _live_index(self) -> faiss.Index:
        content = self.index
        if content.digest not in _opened:
            stored = np.frombuffer(content.data, dtype=np.uint8)
            _opened[content.digest] = faiss.deserialize_index(stored)
        return _opened[content.digest]


def _indexed_text(passage: dict[str, str]) -> str:
    return f"{passage['title']}\n{passage['text']}"


def _plain(passage: dict[str, str]) -> dict[str, str]:
    # A published store hands out boxed strings, which a trace would keep as references.
    return {key: str(passage[key]) for key in ("id", "title", "text")}
