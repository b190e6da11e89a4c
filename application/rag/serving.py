"""Which engine answers for which ChatModel, in this process.

A published ChatModel names its model version by a URI and knows nothing of engines; whoever has
an engine that serves the version says so here, for as long as it does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from openai.types.chat import ChatCompletion

from schemas.errors import ConfigurationError


class ChatEndpoint(Protocol):
    """Something that answers conversations in the OpenAI protocol."""

    name: str
    """The model's name in traces."""

    async def chat(
        self, messages: list[dict[str, str]], *, temperature: float, max_tokens: int
    ) -> ChatCompletion:
        """Answer a conversation, greedily at temperature 0, in ``max_tokens`` at most."""
        ...


_served: dict[str, ChatEndpoint] = {}


@contextmanager
def serving(chat_model: str, endpoint: ChatEndpoint) -> Iterator[None]:
    """Let an endpoint answer for a ChatModel until the block is left.

    Args:
        chat_model: The URI in the ChatModel's field ``chat_model``.
        endpoint: What answers.
    """
    _served[chat_model] = endpoint
    try:
        yield
    finally:
        del _served[chat_model]


def endpoint_of(chat_model: str) -> ChatEndpoint:
    """The endpoint that answers for a ChatModel.

    Raises:
        ConfigurationError: None does.
    """
    if chat_model not in _served:
        raise ConfigurationError(
            f"Nothing serves the chat model {chat_model} in this process.",
            fix="Call predict inside `with serving(uri, endpoint):` (application/rag/serving.py).",
        )
    return _served[chat_model]
