"""A small RAG application, and a fake endpoint that needs no model."""

import pytest
import weave
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice

from application.rag import ChatModel, RagModel, VectorStore

CHAT_MODEL = "wandb-artifact:///wandb32/wandb-registry-RAG Chat Models/Finetuned:v1"
EMBEDDINGS = "sentence-transformers/all-MiniLM-L6-v2"
PASSAGES = [
    {"id": "keeling", "title": "The Keeling curve", "text": "Keeling measured CO2 from 1958."},
    {"id": "foote", "title": "Eunice Foote", "text": "Foote warmed cylinders of gas in 1856."},
    {"id": "coral", "title": "Coral reefs", "text": "Warm water bleaches the corals of a reef."},
]


class FakeEndpoint:
    """Gives every conversation the same answer, and keeps the conversations."""

    name = "Finetuned:v1"

    def __init__(self) -> None:
        self.conversations: list[list[dict[str, str]]] = []

    async def chat(
        self, messages: list[dict[str, str]], *, temperature: float, max_tokens: int
    ) -> ChatCompletion:
        self.conversations.append(messages)
        message = ChatCompletionMessage(role="assistant", content=" in 1958\n")
        return ChatCompletion(
            id="1",
            object="chat.completion",
            created=0,
            model="whatever the engine calls it",
            choices=[Choice(index=0, finish_reason="stop", message=message)],
            usage=CompletionUsage(prompt_tokens=9, completion_tokens=2, total_tokens=11),
        )


@pytest.fixture
def endpoint() -> FakeEndpoint:
    return FakeEndpoint()


@pytest.fixture(scope="session")
def embedding_model() -> str:
    return EMBEDDINGS


@pytest.fixture
def passages() -> list[dict[str, str]]:
    return [dict(passage) for passage in PASSAGES]


@pytest.fixture(scope="session")
def never_published() -> RagModel:
    return RagModel(
        chat_model=ChatModel(
            chat_model=CHAT_MODEL,
            cm_temperature=0.0,
            cm_max_new_tokens=16,
            cm_quantize=False,
            inference_batch_size=8,
            dtype=None,
            device="auto",
        ),
        vector_store=VectorStore.build(PASSAGES, EMBEDDINGS),
        system_prompt=weave.StringPrompt('Answer in few words, as {"this"}.'),
        user_prompt=weave.StringPrompt("{context}\n\nQuestion: {question}"),
        n_documents=2,
    )


@pytest.fixture
def rag_model(never_published: RagModel) -> RagModel:
    return never_published.model_copy(deep=True)
