"""The RAG application: the objects that an app team publishes in Weave and the gate rebuilds.

    RagModel
    ├── chat_model     ChatModel: which model version answers, and how it is asked
    ├── vector_store   VectorStore: the passages and their FAISS index, saved together
    ├── system_prompt, user_prompt: Weave prompts
    └── n_documents    passages per question

``serving`` says which engine answers for a ChatModel in this process, ``embedding`` finds the
embedding model, ``scorers`` holds the ops that score an answer, and ``judge`` the scorer that asks
another model.
"""

from application.rag.chat_model import ChatModel
from application.rag.judge import LLMJudge
from application.rag.rag_model import RagModel
from application.rag.scorers import answer_correctness, context_recall, exact_match
from application.rag.vector_store import VectorStore

__all__ = [
    "ChatModel",
    "LLMJudge",
    "RagModel",
    "VectorStore",
    "answer_correctness",
    "context_recall",
    "exact_match",
]
