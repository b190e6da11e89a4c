"""The old name of ``application.rag``.

Applications import their classes from here, and so does the source of ops that Weave has stored.
Both keep working, because every module is the same object under both names.
"""

import importlib
import sys

from application.rag import (
    ChatModel,
    LLMJudge,
    RagModel,
    VectorStore,
    answer_correctness,
    context_recall,
    exact_match,
)

for _name in (
    "chat_model",
    "embedding",
    "judge",
    "rag_model",
    "scorers",
    "serving",
    "vector_store",
):
    sys.modules[f"{__name__}.{_name}"] = importlib.import_module(f"application.rag.{_name}")

__all__ = [
    "ChatModel",
    "LLMJudge",
    "RagModel",
    "VectorStore",
    "answer_correctness",
    "context_recall",
    "exact_match",
]
