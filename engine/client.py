"""Talks to a served model version in the OpenAI protocol."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from pydantic import SecretStr

from engine.command import SERVED_MODEL
from engine.connections import Connections
from schemas.errors import ConfigurationError, PlatformError, WeighbridgeError

Failure = Callable[[str], PlatformError]
"""Makes the error for an engine that does not answer; gets what it did, as "stopped answering"."""

_TEMPLATE_FLAG = "--trust-request-chat-template"


@dataclass(frozen=True)
class Endpoint:
    """An engine, as its errors name it.

    Attributes:
        name: What it is called in a sentence, as "The engine".
        failure: Makes the error for an engine that does not answer.
        key: The API key, which is taken out of whatever the engine says; None if it asks for none.
    """

    name: str
    failure: Failure
    key: SecretStr | None
    forgets: bool = False

    def explain(self, error: openai.APIError, model: str) -> WeighbridgeError:
        """Say what went wrong and who must act.

        Args:
            error: What the openai client raised.
            model: The name of the version that was asked for.

        Returns:
            PlatformError: The engine is gone, silent, overloaded (429) or broken (5xx).
            ConfigurationError: It refused the key (401, 403), knows no such model (404) or refused
                the request, with its own words.
        """
        said = self.words(error)
        if isinstance(error, openai.NotFoundError) and self.forgets:
            return self.failure(f"does not know {model} any more, as if started anew ({said})")
        if isinstance(error, openai.APIConnectionError):
            return self.failure(f"stopped answering for {model} ({said})")
        if isinstance(error, openai.RateLimitError | openai.InternalServerError):
            return self.failure(f"answered {model} with an error: {said}")
        return ConfigurationError(
            f"{self.name} refused a request to {model}: {said}", fix=_fix(error, said)
        )

    def words(self, error: openai.APIError) -> str:
        """What the engine, or the connection to it, said: one line, without the key."""
        cause = error.__cause__  # only an error of the connection has one
        said = f"{type(cause).__name__}: {cause}" if cause else error.message
        line = said.partition("\n")[0].removesuffix(": ")
        return line.replace(self.key.get_secret_value(), "***") if self.key else line


def _fix(error: openai.APIError, said: str) -> str:
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return "Check WEIGHBRIDGE_ENGINE_KEY."
    if isinstance(error, openai.NotFoundError):
        return (
            "Check WEIGHBRIDGE_ENGINE_URL, which usually ends in /v1; a vLLM server loads adapters "
            "only with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1."
        )
    if _TEMPLATE_FLAG in said:
        return (
            f"Start the server with {_TEMPLATE_FLAG}, or log the version without a chat template "
            "to use the server's own."
        )
    return ""


class ServedModel:
    """A model version that an engine serves; made by `local` or `remote`.

    Attributes:
        name: The version's name in traces.
        chat_template_digest: SHA-256, in hexadecimal, of the Jinja chat template that each request
            carries; None when the engine's own is used.
        at_once: How many requests the engine answers at a time; None for as many as come.
    """

    def __init__(
        self,
        name: str,
        *,
        model: str,
        chat_template: str | None,
        connections: Connections,
        endpoint: Endpoint,
        at_once: int | None = None,
        logprobs: bool = False,
    ) -> None:
        self.name = name
        self.at_once = at_once
        self._failures: list[WeighbridgeError] = []
        self.chat_template_digest = (
            hashlib.sha256(chat_template.encode()).hexdigest() if chat_template else None
        )
        self._model = model
        template = {"chat_template": chat_template} if chat_template else {}
        self._body = template | ({"logprobs": True} if logprobs else {})
        self._connections = connections
        self._endpoint = endpoint

    @classmethod
    def local(
        cls,
        name: str,
        *,
        socket: Path,
        model: str = SERVED_MODEL,
        chat_template: str,
        failure: Failure,
        at_once: int | None = None,
        logprobs: bool = False,
    ) -> Self:
        """A version in an engine on this machine, which is asked once: a dead one stays dead.

        Args:
            name: The version's name in traces.
            socket: The engine's Unix socket.
            model: The version's name in the engine.
            chat_template: The version's Jinja chat template.
            failure: Makes the error for an engine that stopped answering.
            at_once: How many requests the engine answers at a time.
            logprobs: Whether the engine is asked how likely each token was.
        """
        return cls(
            name,
            model=model,
            chat_template=chat_template,
            connections=Connections.to_socket(socket),
            endpoint=Endpoint("The engine", failure, key=None),
            at_once=at_once,
            logprobs=logprobs,
        )

    @classmethod
    def remote(
        cls,
        name: str,
        *,
        base_url: str,
        api_key: SecretStr | None,
        model: str,
        chat_template: str | None,
        retries: int,
        failure: Failure,
        forgets: bool = False,
    ) -> Self:
        """A version in an engine that somebody else runs.

        A request is sent again when the engine answered 429 or 5xx, and when no connection came
        about or one broke: after the engine's Retry-After of up to 120 s, else after 0.5, 1, 2, 4
        and then 8 s, each less up to a quarter at random (openai 3.52). It is not sent again after
        any other 4xx, after a longer Retry-After, nor when an answer took too long.

        Args:
            name: The version's name in traces.
            base_url: As ``https://host/v1``.
            api_key: The engine's key; it appears in no error. None if the engine asks for none.
            model: The version's name in the engine.
            chat_template: The version's Jinja chat template; None for the engine's own.
            retries: How often a request is sent again.
            failure: Makes the error for an engine that does not answer.
            forgets: The version was loaded into it, and is gone when it is started anew: that it
                knows no such model is then no mistake of the operator's.
        """
        return cls(
            name,
            model=model,
            chat_template=chat_template,
            connections=Connections.to_url(base_url, api_key, retries),
            endpoint=Endpoint(f"The engine at {base_url}", failure, api_key, forgets),
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
        async with self._connections.client() as client:
            try:
                return await client.chat.completions.create(
                    messages=cast("list[ChatCompletionMessageParam]", messages),
                    model=self._model,
                    temperature=temperature,
                    max_tokens=max_tokens,
                    extra_body=self._body,
                )
            except openai.APIError as error:
                self._failures.append(self._endpoint.explain(error, self.name))
                # Without the cause, which repeats all that the engine said.
                raise self._failures[-1] from None

    @contextmanager
    def fail_on_request_errors(self) -> Iterator[None]:
        """Make failed requests the reason of whatever went wrong in the block, or seemed right.

        Weave goes on when a row raised, and says so of the row only.

        Raises:
            PlatformError, ConfigurationError: Requests failed; what was measured is incomplete.
        """
        try:
            yield
        except Exception as error:
            if self._failures:
                raise self._incomplete() from error
            raise
        if self._failures:
            raise self._incomplete()

    def _incomplete(self) -> WeighbridgeError:
        first = next((one for one in self._failures if one.retryable), self._failures[0])
        return type(first)(
            f"{len(self._failures)} of the requests to {self.name} failed; the first: "
            f"{first.message}",
            fix=first.fix,
        )
