"""Compares 60 questions to the vector store one by one with one batch.

``python -m bench.inference.retrieval FOLDER`` prints the figures as one JSON line.
"""

import json
import statistics
import time
from collections.abc import Callable

from application.rag import VectorStore
from rehearsal import climate

_QUESTIONS = 60
_DOCUMENTS = 2
_ROUNDS = 7
_EMBEDDINGS = "sentence-transformers/all-MiniLM-L6-v2"


def measure() -> dict[str, float]:
    """Measure both alternately.

    Returns:
        ``batched_retrieval`` and the medians behind it, in seconds.
    """
    passages = [passage.model_dump() for passage in climate.passages()]
    store = VectorStore.build(passages, _EMBEDDINGS)
    questions = [question.question for question in climate.questions()[:_QUESTIONS]]

    def one_by_one() -> None:
        for question in questions:
            store.search([question], _DOCUMENTS)

    def batched() -> None:
        store.search(questions, _DOCUMENTS)

    rounds = [(_seconds(one_by_one), _seconds(batched)) for _ in range(_ROUNDS)]
    single, batch = (statistics.median(times) for times in zip(*rounds, strict=True))
    return {"batched_retrieval": single / batch, "one_by_one_s": single, "batched_s": batch}


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps(measure()))
