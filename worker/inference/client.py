"""Talks to a served model version in the OpenAI protocol."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import httpx2
import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from schemas.errors import ConfigurationError, PlatformError
from worker.inference.command import SERVED_MODEL

# Seconds: a local engine accepts at once or is dead; an answer may wait behind a full batch.
_TIMEOUT = httpx2.Timeout(600.0, connect=5.0)
# A connection to a Unix socket costs nothing, and one that is not kept belongs to no event loop.
_LIMITS = httpx2.Limits(max_keepalive_connections=0)


class ServedModel:
    """A model version that an engine has loaded.

    Args:
        name: The version's name in traces.
        socket: The engine's Unix socket.
        chat_template: The version's Jinja chat template.
        failure: Makes the error for an engine that stopped answering.
    """

    def __init__(
        self,
        name: str,
        *,
        socket: Path,
        chat_template: str,
        failure: Callable[[str], PlatformError],
    ) -> None:
        self.name = name
        self._chat_template = chat_template
        self._failure = failure
        transport = httpx2.AsyncHTTPTransport(uds=str(socket), limits=_LIMITS)
        self._client = AsyncOpenAI(
            base_url="http://engine/v1",
            api_key="none",  # the socket's folder is the lock
            http_client=httpx2.AsyncClient(transport=transport, timeout=_TIMEOUT),
            timeout=_TIMEOUT,
            max_retries=0,  # a dead engine does not come back; a slow one must not work twice
        )

    async def chat(
        self, messages: list[dict[str, str]], *, temperature: float, max_tokens: int
    ) -> ChatCompletion:
        """Answer a conversation.

        Args:
            messages: OpenAI messages, ``{"role", "content"}``.
            temperature: 0 is greedy.
            max_tokens: Longest answer, in tokens.

        Returns:
            The completion, with its token usage.

        Raises:
            PlatformError: The engine died or does not answer.
            ConfigurationError: The engine refuses the request, for instance as too long.
        """
        try:
            return await self._client.chat.completions.create(
                messages=cast("list[ChatCompletionMessageParam]", messages),
                model=SERVED_MODEL,
                temperature=temperature,
                max_tokens=max_tokens,
                extra_body={"chat_template": self._chat_template},
            )
        except (openai.APIConnectionError, openai.InternalServerError) as error:
            raise self._failure(f"stopped answering for {self.name}") from error
        except openai.APIStatusError as error:
            raise ConfigurationError(
                f"The engine refused a request to {self.name}: {error.message}"
            ) from error
