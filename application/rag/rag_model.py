"""The RAG application that is weighed: retrieve, then answer."""

from contextlib import AbstractContextManager
from typing import Any

import weave

from application.rag.chat_model import ChatModel
from application.rag.vector_store import VectorStore


class RagModel(weave.Model):
    """Answers questions from the passages of a vector store.

    Attributes:
        chat_model: The part that a weighing exchanges.
        vector_store: Passages and their index.
        system_prompt: What the chat model is told first.
        user_prompt: The question's message, with the fields ``{context}`` and ``{question}``.
        n_documents: Passages per question.
    """

    chat_model: ChatModel
    vector_store: VectorStore
    system_prompt: weave.StringPrompt
    user_prompt: weave.StringPrompt
    n_documents: int

    @weave.op
    def retrieve(self, question: str) -> list[dict[str, Any]]:
        """Find the passages for a question: ``id``, ``title``, ``text``, ``score``, best first."""
        return self.vector_store.search([question], int(self.n_documents))[0]

    def prepared(self, questions: list[str]) -> AbstractContextManager[None]:
        """Retrieve for many questions in one batch: `with model.prepared(questions): ...`.

        Inside the block ``retrieve`` finds its passages at hand; answers and traces are the same.

        Args:
            questions: What will be asked.
        """
        return self.vector_store.prepared(questions, int(self.n_documents))

    @weave.op
    async def predict(self, question: str) -> dict[str, Any]:
        """Answer a question.

        Returns:
            ``answer``, the chat model's ``confidence`` in it, and the ``context`` that
            ``retrieve`` gave for it.
        """
        context = self.retrieve(question)
        passages = "\n\n".join(passage["text"] for passage in context)
        answer = await self.chat_model.predict(
            [
                {"role": "system", "content": str(self.system_prompt.content)},
                {
                    "role": "user",
                    "content": self.user_prompt.format(context=passages, question=question),
                },
            ]
        )
        return {
            "answer": answer["content"],
            "confidence": answer["confidence"],
            "context": context,
        }
