"""The mapping from ChatModels to the endpoints that serve them in this process.

A published ChatModel names its model version by a URI and does not mention an engine. The process
that runs the engine registers an endpoint for that URI with ``serving``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from openai.types.chat import ChatCompletion

from schemas.errors import ConfigurationError


class ChatEndpoint(Protocol):
    """An endpoint that speaks the OpenAI chat protocol."""

    name: str
    """The model's name in traces."""

    async def chat(
        self, messages: list[dict[str, str]], *, temperature: float, max_tokens: int
    ) -> ChatCompletion:
        """Answer a conversation in at most ``max_tokens`` tokens; temperature 0 is greedy."""
        ...


_served: dict[str, ChatEndpoint] = {}


@contextmanager
def serving(chat_model: str, endpoint: ChatEndpoint) -> Iterator[None]:
    """Serve a ChatModel from an endpoint until the block exits.

    Args:
        chat_model: The URI in the ChatModel's field ``chat_model``.
        endpoint: The endpoint that serves it.
    """
    _served[chat_model] = endpoint
    try:
        yield
    finally:
        del _served[chat_model]


def endpoint_of(chat_model: str) -> ChatEndpoint:
    """Return the endpoint that serves a ChatModel.

    Raises:
        ConfigurationError: No endpoint serves it.
    """
    if chat_model not in _served:
        raise ConfigurationError(
            f"Nothing serves the chat model {chat_model} in this process.",
            fix="Call predict inside `with serving(uri, endpoint):` (application/rag/serving.py).",
        )
    return _served[chat_model]
