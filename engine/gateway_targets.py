"""The models that the gateway forwards to: the version, and the models that a gate names."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import openai
from pydantic import SecretStr

from engine.client import Endpoint, Upstream
from engine.connections import Connections
from engine.gateway_errors import Refusal, refusal
from engine.gateway_usage import UsageCounter
from schemas.applications import ModelEndpoint
from schemas.errors import ConfigurationError, PlatformError, WeighbridgeError

CHAT = "/chat/completions"
"""The endpoint that every upstream has."""

# About the key or the account, which are the operator's, or about the load.
_KEY_REFUSED = (401, 403)
_NOT_THE_APPLICATIONS = (*_KEY_REFUSED, 402, 429)
# The upstream has no such endpoint. vLLM 0.32 answers 501 for one that its model does not support.
_NO_ENDPOINT = (404, 405, 501)


class Target:
    """One model behind the gateway.

    After a failure that makes the weighing's measurements incomplete, no further request is sent
    to it: the attempt has failed, and a judge costs money.

    Args:
        name: The name by which the application asks for it.
        upstream: How to send requests to it.

    Attributes:
        counter: Counts its requests.
        failure: The first failure that makes the measurements incomplete; None if there is none.
        refused: The first request that was refused because of what it asks; None if there is none.
    """

    def __init__(self, name: str, upstream: Upstream) -> None:
        self.name = name
        self.upstream = upstream
        self.counter = UsageCounter()
        self.failure: WeighbridgeError | None = None
        self.refused: ConfigurationError | None = None
        limit = upstream.max_concurrency
        self._slots = asyncio.Semaphore(limit) if limit else None

    def slot(self) -> AbstractAsyncContextManager[object]:
        """Wait until one more request may be sent."""
        return self._slots or nullcontext()

    def require_working(self) -> None:
        """Refuse the request if an earlier one failed.

        Raises:
            Refusal: The target has failed.
        """
        if self.failure:
            raise self._failed(self.failure)

    def refuse(self, error: openai.APIError, path: str) -> Refusal:
        """Answer a request that failed, and remember the failure unless the application caused it.

        Args:
            error: The upstream's error, or that of the connection.
            path: The endpoint, such as ``/chat/completions``.

        Returns:
            The upstream's own status and error if that is 4xx; 404 if it has no such endpoint;
            otherwise 502 and the failure, also if it refused the worker's key.
        """
        if not isinstance(error, openai.APIStatusError):
            return self.fail(self._translated(error))
        status = error.status_code
        if status in _NO_ENDPOINT and self._is_optional(path, error):
            lacks = f"{self.upstream.endpoint.name} has no /v1{path}."
            return self._by_application(refusal(404, lacks, code="unknown_endpoint"))
        if not 400 <= status < 500:
            return self.fail(self._translated(error))
        if status in (*_NOT_THE_APPLICATIONS, *_NO_ENDPOINT):
            failed = self.fail(self._translated(error))
            # An endpoint may repeat a part of a key that it refused.
            return failed if status in _KEY_REFUSED else self._passed_on(error)
        return self._by_application(self._passed_on(error))

    def refuse_stream(self, error: Mapping[str, Any]) -> Refusal:
        """Answer a request whose streamed answer ended with an error, as ``refuse`` does.

        Args:
            error: OpenAI's error object.
        """
        said = self.upstream.endpoint.without_key(json.dumps(error))
        status = error.get("code")
        if isinstance(status, int) and 400 <= status < 500 and status not in _NOT_THE_APPLICATIONS:
            return self._by_application(Refusal(status, json.loads(said)))
        said = str(json.loads(said).get("message"))
        return self.fail(
            self.upstream.endpoint.failure(f"answered {self.name} with an error: {said}")
        )

    def fail(self, failure: WeighbridgeError) -> Refusal:
        """Remember a failure if it is the first, and answer its request with status 502."""
        self.failure = self.failure or failure
        return self._failed(failure)

    def _by_application(self, refused: Refusal) -> Refusal:
        self.refused = self.refused or ConfigurationError(
            f"{self.upstream.endpoint.name} refused a request to {self.name}: {refused}"
        )
        return refused

    def _failed(self, failure: WeighbridgeError) -> Refusal:
        return refusal(502, str(failure), code="upstream_failed", kind="upstream_error")

    def _translated(self, error: openai.APIError) -> WeighbridgeError:
        # Only the first: a local engine's failure reads the whole log.
        return self.failure or self.upstream.endpoint.to_error(error, self.name)

    def _is_optional(self, path: str, error: openai.APIStatusError) -> bool:
        """Whether it may lack the endpoint, and the error is not about the model's name."""
        return path != CHAT and self.upstream.model not in error.message

    def _passed_on(self, error: openai.APIStatusError) -> Refusal:
        said = json.loads(self.upstream.endpoint.without_key(json.dumps(error.body)))
        if isinstance(said, dict) and isinstance(said.get("message"), str):
            return Refusal(error.status_code, said)
        message = self.upstream.endpoint.describe(error)
        return refusal(error.status_code, message, code="upstream_refused")


def targets_of(models: Mapping[str, ModelEndpoint], keys: Mapping[str, str]) -> dict[str, Target]:
    """The targets of the models that a gate names, by the names that the application uses.

    Args:
        models: ``application.models`` of the gate.
        keys: The worker's environment.

    Raises:
        ConfigurationError: A variable with a key is not set.
    """
    return {name: Target(name, _upstream(name, model, keys)) for name, model in models.items()}


def _upstream(name: str, model: ModelEndpoint, keys: Mapping[str, str]) -> Upstream:
    url = str(model.base_url).rstrip("/")
    key = _key(name, model.key_variable, keys)
    subject = f"The endpoint of '{name}' at {url}"

    def failure(what: str) -> PlatformError:
        return PlatformError(f"{subject} {what}.")

    def fix(error: openai.APIError, _said: str) -> str:
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return f"Check {model.key_variable or f'application.models.{name}.key_variable'}."
        return (
            f"Check base_url, which usually ends in /v1, and model of application.models.{name}."
            if isinstance(error, openai.NotFoundError)
            else ""
        )

    return Upstream(
        model.model or name,
        Connections.to_url(url, key, model.retries),
        Endpoint(subject, failure, key, fix=fix),
        max_concurrency=model.max_concurrency,
    )


def _key(name: str, variable: str | None, keys: Mapping[str, str]) -> SecretStr | None:
    if variable is None:
        return None
    if not keys.get(variable):
        raise ConfigurationError(
            f"{variable} is not set, which application.models.{name} names as its key.",
            fix="Set it where the workers run.",
        )
    return SecretStr(keys[variable])
