"""For any request, the receiver conforms to its OpenAPI document and never fails."""

import asyncio
import base64
import hmac
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis
import schemathesis
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from bus.inbox import Inbox
from producers.webhook import webhook_app
from schemas.gates import Gate, GateFile
from schemas.settings import Settings

_PAYLOADS = 10_000
_AT_ONCE = 20
_VERSIONS = [f"wandb32/wandb-registry-RAG Chat Models/c:{version}" for version in ("v3", "v٣", "x")]
_KEYS = {
    "event_type": ["LINK_ARTIFACT", "ADD_ARTIFACT_ALIAS"],
    "artifact_version_string": _VERSIONS,
    "artifact_version": ["wandb-artifact://_id/QQ", f"wandb-artifact:///{_VERSIONS[0]}"],
    "alias": ["", "candidate"],
    "event_author": ["ada"],
}

_texts = st.text(st.characters(exclude_categories=()), max_size=20)  # with surrogates and NULs
_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
)
_flat = st.fixed_dictionaries(
    {}, optional={key: st.sampled_from(usual) | _values for key, usual in _KEYS.items()}
)
_usual = st.fixed_dictionaries({key: st.sampled_from(usual) for key, usual in _KEYS.items()})
_nested = st.fixed_dictionaries({"client_payload": _usual | _flat | _values})
_bodies = st.binary(max_size=200) | (_usual | _flat | _nested | _values).map(
    lambda value: json.dumps(value).encode()
)


@pytest.fixture
def gated(settings: Settings, gate: Gate) -> Settings:
    document = GateFile(gates=(gate,)).model_dump(mode="json", exclude_none=True)
    settings.gates_path.write_text(yaml.safe_dump(document))
    return settings


class _Sender:
    """Sends requests to a receiver in this process; a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._app = webhook_app(settings)
        self._runner = asyncio.Runner()
        self.accepted: set[str] = set()

    def __enter__(self) -> "_Sender":
        self._runner.__enter__()
        self._lifespan = self._app.router.lifespan_context(self._app)
        self._runner.run(self._enter())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._leave())
        self._runner.close()

    def send(self, deliveries: list[tuple[bytes, bool]]) -> list[httpx.Response]:
        """Send bodies concurrently, each with a valid or an invalid signature."""
        return self._runner.run(self._send_all(deliveries))

    async def _send_all(self, deliveries: list[tuple[bytes, bool]]) -> list[httpx.Response]:
        return await asyncio.gather(*(self._send(body, signed) for body, signed in deliveries))

    async def _send(self, body: bytes, signed: bool) -> httpx.Response:
        digest = hmac.digest(b"the-secret" if signed else b"other", body, "sha256")
        headers = {
            "content-type": "application/json",
            "authorization": "Bearer the-token",
            "x-wandb-signature": base64.b64encode(digest).decode(),
        }
        return await self._client.post("/webhook", content=body, headers=headers)

    async def _enter(self) -> None:
        await self._lifespan.__aenter__()
        transport = httpx.ASGITransport(self._app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://receiver")

    async def _leave(self) -> None:
        await self._client.aclose()
        await self._lifespan.__aexit__(None, None, None)


@pytest.fixture
def sender(gated: Settings, client: redis.Redis) -> Iterator[_Sender]:
    with _Sender(gated) as sender:
        yield sender


@given(deliveries=st.lists(st.tuples(_bodies, st.booleans()), min_size=_AT_ONCE, max_size=_AT_ONCE))
@hypothesis_settings(
    max_examples=_PAYLOADS // _AT_ONCE,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_no_payload_causes_an_error_and_none_is_accepted_unsigned(
    sender: _Sender, inbox: Inbox, deliveries: list[tuple[bytes, bool]]
) -> None:
    for (_, signed), answer in zip(deliveries, sender.send(deliveries), strict=True):
        assert answer.status_code in ({200, 202, 400, 422} if signed else {403})
        if answer.status_code == 202:
            sender.accepted.update(answer.json()["events"])
    assert set(inbox.waiting()) == sender.accepted


@pytest.mark.parametrize("checks", [{"token", "signature"}, set()], ids=["guarded", "open"])
@pytest.mark.parametrize("path", ["/webhook", "/healthz", "/readyz", "/metrics"])
def test_every_route_conforms_to_its_openapi_document(
    gated: Settings, client: redis.Redis, checks: set[str], path: str
) -> None:
    app = webhook_app(gated.model_copy(update={"webhook_checks": frozenset(checks)}))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    found = schema.include(path=path).get_all_operations()
    (operation,) = [one.ok() for one in found if isinstance(one, Ok)]

    @given(case=operation.as_strategy())
    @hypothesis_settings(max_examples=50, database=None, suppress_health_check=list(HealthCheck))
    def answers(case: "schemathesis.Case[Any]") -> None:
        # The form of a version string is checked with a 422, not in the schema.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    answers()


def test_every_route_is_documented(gated: Settings) -> None:
    paths = webhook_app(gated).openapi()["paths"]
    assert set(paths) == {"/webhook", "/healthz", "/readyz", "/metrics"}
