"""The passages of a RAG application, with the index that finds them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import faiss
import numpy as np
import weave
from weave import Content

from application.rag.embedding import embed

# Bytes of scratch memory on a GPU. FAISS would take 1.5 GiB, where vLLM has left little.
_GPU_SCRATCH = 64 * 2**20


class _Hits(NamedTuple):
    """What was found for a question, best first."""

    rows: list[int]  # places in the list of passages
    scores: list[float]  # cosines


# Indexes that this process has opened, and what was found in them ahead of the questions; by the
# digest of the index's bytes. Both are kept here because Weave would try to store what a
# weave.Object holds.
_opened: dict[str, faiss.Index] = {}
_prepared: dict[tuple[str, int], dict[str, _Hits]] = {}


class VectorStore(weave.Object):
    """Passages and a FAISS index over their embeddings, published as one object.

    The index is stored as a file of the object: whoever gets the store searches at once and
    embeds nothing but the questions. With faiss-gpu and a visible device the index is searched
    there, where it is moved once.

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

    def search(self, questions: list[str], n_documents: int) -> list[list[dict[str, Any]]]:
        """Find the passages nearest to each question, all in one batch.

        Args:
            questions: What is asked.
            n_documents: How many passages at most for each.

        Returns:
            For each question ``id``, ``title``, ``text`` and ``score`` (the cosine) of its
            passages, best first.
        """
        known = _prepared.get((self.index.digest, n_documents), {})
        if known.keys() >= set(questions):
            found = [known[question] for question in questions]
        else:
            found = self._nearest(questions, n_documents)
        return [self._described(hits) for hits in found]

    @contextmanager
    def prepared(self, questions: list[str], n_documents: int) -> Iterator[None]:
        """Find the passages for many questions at once, and know them until the block is left.

        Args:
            questions: What will be asked, one by one. Others may be asked too; each is then
                searched by itself.
            n_documents: How many passages at most for each; for another number nothing is known.
        """
        key = (self.index.digest, n_documents)
        distinct = list(dict.fromkeys(questions))
        _prepared[key] = dict(zip(distinct, self._nearest(distinct, n_documents), strict=True))
        try:
            yield
        finally:
            _prepared.pop(key, None)

    def _nearest(self, questions: list[str], n_documents: int) -> list[_Hits]:
        if not questions:
            return []
        vectors = embed(questions, str(self.embedding_model))
        scores, rows = self._live_index().search(vectors, min(n_documents, len(self.passages)))
        return [_Hits(*hits) for hits in zip(rows.tolist(), scores.tolist(), strict=True)]

    def _described(self, hits: _Hits) -> list[dict[str, Any]]:
        return [
            _plain(self.passages[row]) | {"score": score}
            for row, score in zip(hits.rows, hits.scores, strict=True)
        ]

    def _live_index(self) -> faiss.Index:
        content = self.index
        if content.digest not in _opened:
            stored = np.frombuffer(content.data, dtype=np.uint8)
            _opened[content.digest] = _on_gpu_if_any(faiss.deserialize_index(stored))
        return _opened[content.digest]


def _on_gpu_if_any(index: faiss.Index) -> faiss.Index:
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        return index
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(_GPU_SCRATCH)
    return faiss.index_cpu_to_gpu(resources, 0, index)


def _indexed_text(passage: dict[str, str]) -> str:
    return f"{passage['title']}\n{passage['text']}"


def _plain(passage: dict[str, str]) -> dict[str, str]:
    # A published store hands out boxed strings, which a trace would keep as references.
    return {key: str(passage[key]) for key in ("id", "title", "text")}
