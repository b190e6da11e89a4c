"""Sends requests to a served model version in the OpenAI protocol."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, cast

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from pydantic import SecretStr

from engine.command import SERVED_MODEL
from engine.connections import Connections
from schemas.errors import ConfigurationError, PlatformError, WeighbridgeError

Failure = Callable[[str], PlatformError]
"""Makes the error for an engine that failed; receives what it did, such as "stopped answering"."""

Fix = Callable[[openai.APIError, str], str]
"""Says what to do about a refused request, given the error and the engine's message."""

_TEMPLATE_FLAG = "--trust-request-chat-template"


def _engine_fix(error: openai.APIError, said: str) -> str:
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


@dataclass(frozen=True)
class Endpoint:
    """Translates the openai client's errors for one engine.

    Attributes:
        name: The subject of its messages, such as "The engine".
        failure: Makes the error for an engine that failed.
        key: The API key, which is removed from every message; None if the engine needs none.
        lost_on_restart: Whether the version was loaded into a running engine and is lost when that
            restarts. A 404 is then worth another try.
        fix: Says what to do about a refused request.
    """

    name: str
    failure: Failure
    key: SecretStr | None
    lost_on_restart: bool = False
    fix: Fix = _engine_fix

    def to_error(self, error: openai.APIError, model: str) -> WeighbridgeError:
        """Translate an error of the openai client into one that says who must act.

        Args:
            error: The client's error.
            model: The name of the version.

        Returns:
            A PlatformError if the engine is down, timed out, is overloaded (429) or failed (5xx). A
            ConfigurationError with the engine's message if it refused the key (401, 403), has no
            such model (404), or refused the request.
        """
        said = self.describe(error)
        if isinstance(error, openai.NotFoundError) and self.lost_on_restart:
            return self.failure(f"no longer has {model}, as after a restart ({said})")
        if isinstance(error, openai.APIConnectionError):
            return self.failure(f"stopped answering for {model} ({said})")
        if isinstance(error, openai.RateLimitError | openai.InternalServerError):
            return self.failure(f"answered {model} with an error: {said}")
        return ConfigurationError(
            f"{self.name} refused a request to {model}: {said}", fix=self.fix(error, said)
        )

    def describe(self, error: openai.APIError) -> str:
        """The first line of the engine's message or of the connection error, without the key."""
        cause = error.__cause__  # only a connection error has one
        said = f"{type(cause).__name__}: {cause}" if cause else error.message
        return self.without_key(said.partition("\n")[0].removesuffix(": "))

    def without_key(self, text: str) -> str:
        """A text of the engine with asterisks in place of the key."""
        return text.replace(self.key.get_secret_value(), "***") if self.key else text


@dataclass(frozen=True)
class Upstream:
    """How to send requests to one model of one engine.

    Attributes:
        model: The model's name in the engine.
        connections: The engine, with its key and the rules for retries.
        endpoint: Translates the errors of its client.
        chat_fields: Fields of every chat completion request, such as the chat template.
        max_concurrency: How many requests it answers at the same time; None means no limit.
    """

    model: str
    connections: Connections
    endpoint: Endpoint
    chat_fields: Mapping[str, object] = field(default_factory=dict)
    max_concurrency: int | None = None


class ServedModel:
    """A model version that an engine serves, made by ``local`` or ``remote``.

    Attributes:
        name: The version's name in traces.
        upstream: How to send requests to it, for whoever forwards requests of others.
        chat_template_digest: SHA-256, in hexadecimal, of the Jinja chat template that each request
            carries; None if the engine's own template is used.
        max_concurrency: How many requests the engine answers at the same time; None means no limit.
    """

    def __init__(
        self,
        name: str,
        *,
        model: str,
        chat_template: str | None,
        connections: Connections,
        endpoint: Endpoint,
        max_concurrency: int | None = None,
        logprobs: bool = False,
    ) -> None:
        self.name = name
        self.max_concurrency = max_concurrency
        self._failures: list[WeighbridgeError] = []
        self.chat_template_digest = (
            hashlib.sha256(chat_template.encode()).hexdigest() if chat_template else None
        )
        template = {"chat_template": chat_template} if chat_template else {}
        self.upstream = Upstream(
            model,
            connections,
            endpoint,
            chat_fields=template | ({"logprobs": True} if logprobs else {}),
            max_concurrency=max_concurrency,
        )

    @classmethod
    def local(
        cls,
        name: str,
        *,
        socket: Path,
        model: str = SERVED_MODEL,
        chat_template: str,
        failure: Failure,
        max_concurrency: int | None = None,
        logprobs: bool = False,
    ) -> Self:
        """A version in an engine on this machine. Requests are not retried.

        Args:
            name: The version's name in traces.
            socket: The engine's Unix socket.
            model: The version's name in the engine.
            chat_template: The version's Jinja chat template.
            failure: Makes the error for an engine that failed.
            max_concurrency: How many requests the engine answers at the same time.
            logprobs: Whether to request the log probability of each token.
        """
        return cls(
            name,
            model=model,
            chat_template=chat_template,
            connections=Connections.to_socket(socket),
            endpoint=Endpoint("The engine", failure, key=None),
            max_concurrency=max_concurrency,
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
        lost_on_restart: bool = False,
    ) -> Self:
        """A version in an external engine.

        A request is retried after 429, 5xx and connection errors. The delay is the engine's
        Retry-After if that is at most 120 s, otherwise 0.5, 1, 2, 4 and then 8 s, with a jitter of
        up to 25 % (openai 3.52). It is not retried after any other 4xx, a longer Retry-After, or a
        timeout.

        Args:
            name: The version's name in traces.
            base_url: Base URL, such as ``https://host/v1``.
            api_key: The engine's key, which appears in no error; None if the engine needs none.
            model: The version's name in the engine.
            chat_template: The version's Jinja chat template; None for the engine's own.
            retries: How often a request is retried.
            failure: Makes the error for an engine that failed.
            lost_on_restart: Whether the version was loaded into the running engine and is lost when
                that restarts.
        """
        return cls(
            name,
            model=model,
            chat_template=chat_template,
            connections=Connections.to_url(base_url, api_key, retries),
            endpoint=Endpoint(f"The engine at {base_url}", failure, api_key, lost_on_restart),
        )

    async def chat(
        self, messages: list[dict[str, str]], *, temperature: float, max_tokens: int
    ) -> ChatCompletion:
        """Request a chat completion.

        Args:
            messages: OpenAI messages, ``{"role", "content"}``.
            temperature: Sampling temperature; 0 is greedy.
            max_tokens: Longest answer, in tokens.

        Returns:
            The completion, with its token usage.

        Raises:
            PlatformError: The engine failed or timed out.
            ConfigurationError: The engine refused the request, for example because it is too long.
        """
        async with self.upstream.connections.client() as client:
            try:
                return await client.chat.completions.create(
                    messages=cast("list[ChatCompletionMessageParam]", messages),
                    model=self.upstream.model,
                    temperature=temperature,
                    max_tokens=max_tokens,
                    extra_body=self.upstream.chat_fields,
                )
            except openai.APIError as error:
                self._failures.append(self.upstream.endpoint.to_error(error, self.name))
                # Without the cause: it repeats the engine's message, which may hold the key.
                raise self._failures[-1] from None

    @contextmanager
    def fail_on_request_errors(self) -> Iterator[None]:
        """On exit, raise if any request failed, even if the block succeeded.

        Weave continues after a row has raised.

        Raises:
            PlatformError, ConfigurationError: Requests failed, so the measurements are incomplete.
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
