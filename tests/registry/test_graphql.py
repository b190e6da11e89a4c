"""The GraphQL client: errors, retries and the rate limit."""

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from registry.graphql import Graphql
from schemas.errors import ConfigurationError, PlatformError, WeighbridgeError
from tests.registry.scripted import Answer, Scripted, scripted

_LONG = "60"  # seconds; no test waits for it
_QUERY = "query { it }"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.graphql._FIRST_PAUSE", 0.01)


@contextmanager
def _asking(*answers: Answer, timeout: float = 5) -> Iterator[tuple[Graphql, Scripted]]:
    with scripted(*answers) as server:
        yield Graphql(server.url, "the-key", timeout, threading.Event()), server


def test_a_query_sends_the_api_key() -> None:
    with _asking(Answer()) as (graphql, server):
        assert graphql.query("see", _QUERY, name="x", cursor=None) == {"it": "is"}
        assert server.asked == [{"query": _QUERY, "variables": {"name": "x"}}]
        assert base64.b64decode(server.credentials[0].removeprefix("Basic ")) == b"api:the-key"


@pytest.mark.parametrize(
    "headers",
    [
        {"RateLimit-Remaining": "0", "RateLimit-Reset": "0.5"},
        {"RateLimit-Remaining": "7", "RateLimit-Reset": "0.5"},
        {"Retry-After": "0.5"},
    ],
)
def test_the_next_request_waits_for_the_rate_limit(headers: dict[str, str]) -> None:
    with _asking(Answer(headers=headers), Answer()) as (graphql, server):
        for _ in range(2):
            graphql.query("see", _QUERY)
        first, second = server.times
        assert second - first >= 0.5


def test_within_the_rate_limit_no_request_waits() -> None:
    headers = {"RateLimit-Remaining": "500", "RateLimit-Reset": _LONG}
    with _asking(Answer(headers=headers)) as (graphql, server):
        for _ in range(2):
            graphql.query("see", _QUERY)
        assert server.times[1] - server.times[0] < 5


def test_a_429_is_retried_after_retry_after() -> None:
    refused = Answer(429, {"errors": [{"message": "slow down"}]}, {"Retry-After": "0.6"})
    with _asking(refused, Answer()) as (graphql, server):
        assert graphql.query("see", _QUERY) == {"it": "is"}
        assert server.times[1] - server.times[0] >= 0.6
        assert graphql.requests == 2


def test_retry_after_may_be_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
    with _asking(Answer(503, headers={"Retry-After": later}), Answer()) as (graphql, server):
        graphql.query("see", _QUERY)
        assert server.times[1] - server.times[0] >= 0.8  # the date has no fractions


def test_invalid_headers_are_ignored() -> None:
    headers = {"RateLimit-Remaining": "none", "RateLimit-Reset": "soon", "Retry-After": "?"}
    with _asking(Answer(headers=headers)) as (graphql, _):
        for _ in range(2):
            assert graphql.query("see", _QUERY) == {"it": "is"}


def test_stop_ends_a_wait() -> None:
    stop = threading.Event()
    with scripted(Answer(headers={"Retry-After": _LONG})) as server:
        graphql = Graphql(server.url, "the-key", 5, stop)
        graphql.query("see", _QUERY)
        threading.Timer(0.1, stop.set).start()
        start = time.monotonic()
        with pytest.raises(PlatformError, match="Did not see: the process is stopping"):
            graphql.query("see", _QUERY)
        assert time.monotonic() - start < 5
        assert len(server.asked) == 1


_DOWN = {"errors": [{"message": "no database"}], "data": None}


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (Answer(500, _DOWN), PlatformError, "W&B did not see: HTTP 500: no database"),
        (Answer(429), PlatformError, "W&B did not see: HTTP 429"),
        (Answer(502, "<html>bad gateway</html>"), PlatformError, "W&B did not see: HTTP 502"),
        (Answer(200, "<html>sign in</html>"), PlatformError, "W&B did not see"),
        (Answer(200, []), PlatformError, "W&B did not see"),
        (Answer(200, {"data": None}), PlatformError, "W&B did not see: HTTP 200"),
        (Answer(500, {"errors": ["no database"]}), PlatformError, "W&B did not see: HTTP 500"),
        (Answer(200, _DOWN), PlatformError, "W&B did not see: HTTP 200: no database"),
        (Answer(400, _DOWN), ConfigurationError, "W&B could not see"),
        (Answer(401), ConfigurationError, "W&B refused to see: .*Check WANDB_API_KEY"),
        (Answer(403), ConfigurationError, "W&B could not see: HTTP 403"),
        (Answer(404), ConfigurationError, "W&B could not see: HTTP 404"),
        (Answer(delay=60), PlatformError, "W&B did not see: .*timed out"),
    ],
)
def test_an_error_names_the_call_and_who_must_act(
    answer: Answer, error: type[WeighbridgeError], message: str
) -> None:
    with (
        _asking(answer, timeout=0.2 if answer.delay else 5) as (graphql, _),
        pytest.raises(error, match=message),
    ):
        graphql.query("see", _QUERY)


def test_a_permanent_error_is_not_retried() -> None:
    with _asking(Answer(403)) as (graphql, server):
        with pytest.raises(ConfigurationError):
            graphql.query("see", _QUERY)
        assert len(server.asked) == 1


def test_an_unavailable_server_is_a_platform_error() -> None:
    with scripted(Answer()) as server:
        pass
    with pytest.raises(PlatformError, match="W&B did not see"):
        Graphql(server.url, "the-key", 5, threading.Event()).query("see", _QUERY)
