"""The RAG application: the objects that an app team publishes in Weave and the gate rebuilds.

    RagModel
    ├── chat_model     ChatModel: the model version and its sampling parameters
    ├── vector_store   VectorStore: the passages and their FAISS index, stored together
    ├── system_prompt, user_prompt: Weave prompts
    └── n_documents    passages per question

``serving`` maps a ChatModel to the engine that serves it in this process, and ``embedding`` embeds
texts. ``scorers`` holds the ops that score an answer, and ``judge`` a scorer that queries another
model.
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
