"""A client for W&B's GraphQL API, without the SDK.

The SDK hides the rate limit headers, and a failed call may block its caller
(docs/upstream/wandb-protocol.md, "Rate limits" and "Timeouts and retries"). A process that polls
all day must respect the former and avoid the latter.
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

_TRIES = 3  # so that a single 500 does not fail a full scan with its 200 pages
_FIRST_PAUSE = 0.5  # most seconds before the second try; doubled before each later try

# Of W&B's 1,000 units per window; left for the SDK's calls with the same key.
_RESERVE = 10
_LONGEST_WAIT = 3600.0  # seconds; a wrong date must not stop the process forever


class _Error(BaseModel):
    message: str = ""


class _Body(BaseModel):
    data: dict[str, Any] | None = None
    errors: list[_Error] | None = None


class Graphql:
    """Sends queries within W&B's rate limit.

    Args:
        base_url: The server's URL.
        api_key: The API key.
        timeout: Seconds without a response after which a request fails.
        stop: Ends any wait when set.

    Attributes:
        requests: Number of requests sent.
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
    def from_api(cls, api: wandb.Api, timeout: float, stop: threading.Event) -> Self:
        """Use the SDK's server and API key.

        Raises:
            ConfigurationError: The SDK found no API key.
        """
        if not api.api_key:
            raise ConfigurationError(
                "The SDK found no W&B API key.", fix="Set WANDB_API_KEY, or run wandb login."
            )
        return cls(str(api.settings["base_url"]), api.api_key, timeout, stop)

    def query(self, what: str, query: str, **variables: Any) -> dict[str, Any]:
        """Send a query, and retry transient errors.

        Args:
            what: The query in words; used in error messages.
            query: The query.
            variables: Its variables; those that are None are left out.

        Returns:
            The response's data.

        Raises:
            ConfigurationError: The API key is refused, or the object does not exist or is not
                accessible.
            PlatformError: W&B did not answer, or the process is stopping.
        """
        body = {"query": query, "variables": {k: v for k, v in variables.items() if v is not None}}
        for attempt in range(_TRIES - 1):
            try:
                return self._query_once(what, body)
            except PlatformError:
                self._pause(random.uniform(0, _FIRST_PAUSE * 2**attempt))  # noqa: S311 (no secret)
        return self._query_once(what, body)

    def _query_once(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._stop.wait(max(0.0, self._free_at - time.monotonic())):
            raise PlatformError(f"Did not {what}: the process is stopping.")
        with wandb_call(what):
            self.requests += 1
            response = self._session.post(self._url, json=body, timeout=self._timeout)
            self._respect_limits(response.headers)
            return _data(what, response)

    def _respect_limits(self, headers: Mapping[str, str]) -> None:
        self._pause(_seconds(headers.get("Retry-After")))
        if _seconds(headers.get("RateLimit-Remaining", "inf")) <= _RESERVE:
            self._pause(_seconds(headers.get("RateLimit-Reset")))

    def _pause(self, seconds: float) -> None:
        self._free_at = max(self._free_at, time.monotonic() + min(seconds, _LONGEST_WAIT))


def _data(what: str, response: requests.Response) -> dict[str, Any]:
    if response.status_code == HTTPStatus.OK:
        body = _Body.model_validate_json(response.content)
        if body.data is not None and not body.errors:
            return body.data
    raise translate_error(
        what, requests.HTTPError(f"HTTP {response.status_code}: {_reason(response)}")
    )


def _reason(response: requests.Response) -> str:
    with suppress(ValueError):  # a proxy may respond with an HTML page
        if errors := _Body.model_validate_json(response.content).errors:
            return errors[0].message
    return response.reason


def _seconds(text: str | None) -> float:
    """Parse a number of seconds, or the time until a date; 0 if it is neither."""
    try:
        return float(text or 0)
    except ValueError:
        with suppress(ValueError):
            return (parsedate_to_datetime(text or "") - datetime.now(UTC)).total_seconds()
    return 0.0
