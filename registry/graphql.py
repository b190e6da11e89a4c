"""W&B's GraphQL, asked without the SDK.

The SDK hides the headers that tell W&B's rate limit, and a call that fails may hang its caller
(docs/upstream/wandb-protocol.md, "Rate limits" and "Timeouts and retries"). A process that asks all
day has to keep to the one and avoid the other.
"""

import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Self

import requests
import wandb
from pydantic import BaseModel

from registry.calls import wandb_call
from schemas.errors import ConfigurationError, PlatformError
from schemas.upstream_errors import translate_error

_TRIES = 3  # a single 500 must not cost a look at everything its 200 pages
_FIRST_PAUSE = 0.5  # seconds before the second try, at most; before the next one twice as long

# Of the 1,000 units that W&B grants for each window; the SDK's calls with the same key need some.
_RESERVE = 10
_LONGEST_WAIT = 3600.0  # seconds; a date that is wrong must not stop the process for good


class _Error(BaseModel):
    message: str = ""


class _Answer(BaseModel):
    data: dict[str, Any] | None = None
    errors: list[_Error] | None = None


class Graphql:
    """Asks W&B, no faster than it allows.

    Args:
        base_url: of the server.
        api_key: of whoever asks.
        timeout: seconds without a sign of life after which a request is given up.
        stop: ends every wait.

    Attributes:
        requests: how many were sent.
    """

    def __init__(self, base_url: str, api_key: str, timeout: float, stop: threading.Event) -> None:
        self._url = f"{base_url.rstrip('/')}/graphql"
        self._timeout = timeout
        self._stop = stop
        self._free_at = 0.0  # on the monotonic clock
        self._session = requests.Session()
        self._session.auth = ("api", api_key)
        self.requests = 0

    @classmethod
    def like(cls, api: wandb.Api, timeout: float, stop: threading.Event) -> Self:
        """Asks the server that the SDK found, with the key that it found.

        Raises:
            ConfigurationError: it found no key.
        """
        if not api.api_key:
            raise ConfigurationError(
                "The SDK found no API key of W&B.", fix="Set WANDB_API_KEY, or run wandb login."
            )
        return cls(str(api.settings["base_url"]), api.api_key, timeout, stop)

    def ask(self, what: str, query: str, **variables: Any) -> dict[str, Any]:
        """Send a query; what breaks off is tried again a few times.

        Args:
            what: the query in words; it begins the message of an error.
            variables: of the query; None is left out.

        Returns:
            The answer's data.

        Raises:
            ConfigurationError: the key is refused, or the thing does not exist or is not ours.
            PlatformError: W&B did not answer, or this process is told to stop.
        """
        body = {"query": query, "variables": {k: v for k, v in variables.items() if v is not None}}
        for attempt in range(_TRIES - 1):
            try:
                return self._ask_once(what, body)
            except PlatformError:
                self._rest(random.uniform(0, _FIRST_PAUSE * 2**attempt))  # noqa: S311 (no secret)
        return self._ask_once(what, body)

    def _ask_once(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._stop.wait(max(0.0, self._free_at - time.monotonic())):
            raise PlatformError(f"W&B was not asked to {what}: this process is told to stop.")
        with wandb_call(what):
            self.requests += 1
            answer = self._session.post(self._url, json=body, timeout=self._timeout)
            self._heed(answer.headers)
            return _data(what, answer)

    def _heed(self, headers: Mapping[str, str]) -> None:
        self._rest(_seconds(headers.get("Retry-After")))
        if _seconds(headers.get("RateLimit-Remaining", "inf")) <= _RESERVE:
            self._rest(_seconds(headers.get("RateLimit-Reset")))

    def _rest(self, seconds: float) -> None:
        self._free_at = max(self._free_at, time.monotonic() + min(seconds, _LONGEST_WAIT))


def _data(what: str, answer: requests.Response) -> dict[str, Any]:
    if answer.status_code == HTTPStatus.OK:
        said = _Answer.model_validate_json(answer.content)
        if said.data is not None and not said.errors:
            return said.data
    raise translate_error(what, requests.HTTPError(f"HTTP {answer.status_code}: {_reason(answer)}"))


def _reason(answer: requests.Response) -> str:
    with suppress(ValueError):  # what stands before W&B may answer with a page
        if errors := _Answer.model_validate_json(answer.content).errors:
            return errors[0].message
    return answer.reason


def _seconds(text: str | None) -> float:
    """A number of seconds, or the time until a date; 0 for what is neither."""
    try:
        return float(text or 0)
    except ValueError:
        with suppress(ValueError):
            return (parsedate_to_datetime(text or "") - datetime.now(UTC)).total_seconds()
    return 0.0
