"""The RAG application that is evaluated: retrieve passages, then answer."""

from contextlib import AbstractContextManager
from typing import Any

import weave

from application.rag.chat_model import ChatModel
from application.rag.vector_store import VectorStore


class RagModel(weave.Model):
    """Answers questions from the passages of a vector store.

    Attributes:
        chat_model: The part that a weighing replaces.
        vector_store: The passages and their index.
        system_prompt: The system message.
        user_prompt: The user message, with the fields ``{context}`` and ``{question}``.
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
        """Retrieve for many questions in one batch: ``with model.prepared(questions):``.

        Inside the block, ``retrieve`` uses the prepared passages. Answers and traces are the same.
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
