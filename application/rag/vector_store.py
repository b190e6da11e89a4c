"""The passages of a RAG application and their search index."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import faiss
import numpy as np
import weave
from weave import Content

from application.rag.embedding import embed

# Bytes of scratch memory on a GPU. FAISS would take 1.5 GiB, and vLLM leaves little.
_GPU_SCRATCH = 64 * 2**20


class _Hits(NamedTuple):
    """The search result for one question, best first."""

    rows: list[int]  # positions in the list of passages
    scores: list[float]  # cosine similarities


# The indexes that this process has opened, and search results prepared in them, both by the digest
# of the index's bytes. They are globals because Weave would try to store them as object fields.
_opened: dict[str, faiss.Index] = {}
_prepared: dict[tuple[str, int], dict[str, _Hits]] = {}


class VectorStore(weave.Object):
    """Passages and a FAISS index over their embeddings, published as one object.

    The index is stored as a file of the object, so a loaded store can search at once and embeds
    only the questions. With faiss-gpu and a visible device, the index is moved to the GPU once and
    searched there.

    Attributes:
        passages: ``id``, ``title`` and ``text`` of each passage, in the order of the index.
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
            passages: ``id``, ``title`` and ``text`` of each passage; other keys are kept.
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
            n_documents: Maximum number of passages per question.

        Returns:
            For each question, ``id``, ``title``, ``text`` and ``score`` (cosine similarity) of its
            passages, best first.
        """
        prepared = _prepared.get((self.index.digest, n_documents), {})
        if prepared.keys() >= set(questions):
            found = [prepared[question] for question in questions]
        else:
            found = self._nearest(questions, n_documents)
        return [self._described(hits) for hits in found]

    @contextmanager
    def prepared(self, questions: list[str], n_documents: int) -> Iterator[None]:
        """Search for many questions at once, and keep the results until the block exits.

        Args:
            questions: Questions that will be searched for one by one. Other questions still work;
                each is searched separately.
            n_documents: Passages per question. The results serve searches for this number only.
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
    # A published store returns boxed strings, which a trace would store as references.
    return {key: str(passage[key]) for key in ("id", "title", "text")}
