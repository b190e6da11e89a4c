"""Requests to an engine: content, retries, errors and connections."""

import asyncio
import hashlib
import logging
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from openai.types.chat import ChatCompletion
from pydantic import SecretStr

from engine import connections
from engine.client import ServedModel
from schemas.errors import ConfigurationError, PlatformError, WeighbridgeError
from tests.engine.scripted_engine import (
    BROKEN,
    Answer,
    ScriptedEngine,
    completion,
    error,
    scripted_engine,
    soon,
)

KEY = "the-secret-key"
QUESTION = [{"role": "user", "content": "What is the capital of Germany?"}]


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as running:
        yield running


def failure(what: str) -> PlatformError:
    return PlatformError(f"The engine {what}.")


def remote(url: str, *, retries: int = 0, chat_template: str | None = None) -> ServedModel:
    return ServedModel.remote(
        "the version",
        base_url=url,
        api_key=SecretStr(KEY),
        model="m",
        chat_template=chat_template,
        retries=retries,
        failure=lambda what: PlatformError(f"The engine at {url} {what}."),
    )


def local(socket: Path) -> ServedModel:
    return ServedModel.local("the version", socket=socket, chat_template="{{ x }}", failure=failure)


async def ask(model: ServedModel) -> ChatCompletion:
    return await model.chat(QUESTION, temperature=0.0, max_tokens=5)


def reason(model: ServedModel) -> WeighbridgeError:
    with pytest.raises(WeighbridgeError) as caught:
        asyncio.run(ask(model))
    return caught.value


def test_a_request_contains_the_messages_the_key_and_the_template(engine: ScriptedEngine) -> None:
    model = remote(engine.url, chat_template="{{ messages }}")
    answer = asyncio.run(ask(model))
    assert answer.choices[0].message.content == "Hello."
    [request] = engine.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "m",
        "messages": QUESTION,
        "temperature": 0.0,
        "max_tokens": 5,
        "chat_template": "{{ messages }}",
    }
    assert model.chat_template_digest == hashlib.sha256(b"{{ messages }}").hexdigest()


def test_without_a_template_the_engines_template_is_used(engine: ScriptedEngine) -> None:
    model = remote(engine.url)
    asyncio.run(ask(model))
    assert "chat_template" not in engine.requests[0].body
    assert model.chat_template_digest is None


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_request_to_an_overloaded_engine_is_retried(status: int, engine: ScriptedEngine) -> None:
    engine.will_answer(soon(status), soon(status), completion("at last"))
    answer = asyncio.run(ask(remote(engine.url, retries=2)))
    assert answer.choices[0].message.content == "at last"
    assert len(engine.requests) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_an_engine_that_stays_overloaded_is_a_platform_error(
    status: int, engine: ScriptedEngine
) -> None:
    engine.will_answer(soon(status))
    error = reason(remote(engine.url, retries=2))
    assert isinstance(error, PlatformError)
    assert str(error) == (
        f"The engine at {engine.url} answered the version with an error:"
        f" Error code: {status} - overloaded."
    )
    assert len(engine.requests) == 3


def test_a_broken_connection_is_retried(engine: ScriptedEngine) -> None:
    engine.will_answer(BROKEN, completion())
    asyncio.run(ask(remote(engine.url, retries=1)))
    assert len(engine.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 422])
def test_a_refusal_is_a_configuration_error_and_is_not_retried(
    status: int, engine: ScriptedEngine
) -> None:
    engine.will_answer(error(status, "because of this\nand that", retry_after_ms="1"))
    refusal = reason(remote(engine.url, retries=5))
    assert isinstance(refusal, ConfigurationError)
    assert refusal.message == (
        f"The engine at {engine.url} refused a request to the version:"
        f" Error code: {status} - because of this"
    )
    assert len(engine.requests) == 1


@pytest.mark.parametrize(
    ("status", "message", "fix"),
    [
        (401, "Unauthorized", "Check WEIGHBRIDGE_ENGINE_KEY."),
        (403, "not enabled for your organization", "Check WEIGHBRIDGE_ENGINE_KEY"),
        (404, "The model `m` does not exist.", "Check WEIGHBRIDGE_ENGINE_URL"),
        (400, "but --trust-request-chat-template is not set.", "log the version without a chat"),
    ],
)
def test_a_refusal_comes_with_a_fix(
    status: int, message: str, fix: str, engine: ScriptedEngine
) -> None:
    engine.will_answer(error(status, message))
    refusal = reason(remote(engine.url))
    assert message in refusal.message
    assert fix in refusal.fix


def test_a_timeout_is_not_retried(engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TIMEOUT", httpx2.Timeout(0.2, connect=5.0))
    never = threading.Event()
    engine.will_answer(completion(after=never))
    failed = reason(remote(engine.url, retries=5))
    engine.wait_for_requests(1)
    never.set()
    assert isinstance(failed, PlatformError)
    assert "stopped answering for the version (ReadTimeout)" in str(failed)
    assert len(engine.requests) == 1


def test_an_engine_that_disconnects_is_named_by_its_address(engine: ScriptedEngine) -> None:
    engine.will_answer(BROKEN)
    failed = reason(remote(engine.url))
    assert isinstance(failed, PlatformError)
    assert str(failed) == (
        f"The engine at {engine.url} stopped answering for the version"
        " (RemoteProtocolError: Server disconnected without sending a response.)."
    )


def test_a_refused_connection_is_a_platform_error(tmp_path: Path) -> None:
    with scripted_engine() as ended:
        url = ended.url
    for model in (remote(url), local(tmp_path / "no.sock")):
        failed = reason(model)
        assert isinstance(failed, PlatformError)
        assert "stopped answering for the version (ConnectError" in str(failed)


@pytest.mark.parametrize(
    "script", [[error(401, f"Received={KEY}")], [error(503, f"{KEY} is over its limit")], [BROKEN]]
)
def test_the_key_is_in_no_error_and_no_log(
    script: list[Answer], engine: ScriptedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.will_answer(*script)
    model = remote(engine.url)
    with caplog.at_level(logging.DEBUG):
        failed = reason(model)
    assert KEY not in "".join(traceback.format_exception(failed))
    assert KEY not in caplog.text
    assert engine.requests[0].headers["authorization"].endswith(KEY)


def test_requests_that_overlap_share_connections(engine: ScriptedEngine) -> None:
    hold = threading.Event()
    engine.will_answer(completion("held", after=hold), completion())

    async def one_long_and_many_short(model: ServedModel) -> None:
        long = asyncio.create_task(ask(model))
        await asyncio.to_thread(engine.wait_for_requests, 1)
        for _ in range(5):
            await ask(model)
        hold.set()
        assert (await long).choices[0].message.content == "held"

    asyncio.run(one_long_and_many_short(remote(engine.url)))
    assert len(engine.requests) == 6
    assert engine.connections == 2
    engine.wait_until_disconnected()


def test_no_connection_outlives_its_event_loop(engine: ScriptedEngine) -> None:
    model = remote(engine.url)

    async def ask_thrice() -> None:
        await asyncio.gather(*(ask(model) for _ in range(3)))

    for _ in range(3):
        asyncio.run(ask_thrice())
        engine.wait_until_disconnected()


def test_a_cancelled_request_leaves_no_connection(engine: ScriptedEngine) -> None:
    hold = threading.Event()
    engine.will_answer(completion(after=hold))

    async def give_up(model: ServedModel) -> None:
        task = asyncio.create_task(ask(model))
        await asyncio.to_thread(engine.wait_for_requests, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up(remote(engine.url)))
    hold.set()
    engine.wait_until_disconnected()


def test_event_loops_of_two_threads_share_no_connection(engine: ScriptedEngine) -> None:
    hold = threading.Event()
    engine.will_answer(completion("held", after=hold), completion("at once"))
    model = remote(engine.url)
    answers: list[str | None] = []

    def in_a_thread() -> None:
        answers.append(asyncio.run(ask(model)).choices[0].message.content)

    other = threading.Thread(target=in_a_thread)
    other.start()
    engine.wait_for_requests(1)
    in_a_thread()
    hold.set()
    other.join()
    assert answers == ["at once", "held"]
    engine.wait_until_disconnected()


@pytest.mark.parametrize("answer", [soon(503), soon(429), BROKEN])
def test_a_request_to_a_local_engine_is_not_retried(answer: Answer, socket_folder: Path) -> None:
    socket = socket_folder / "engine.sock"
    with scripted_engine(socket) as engine:
        engine.will_answer(answer)
        failed = reason(local(socket))
        assert isinstance(failed, PlatformError)
        assert str(failed).startswith("The engine ")
        assert len(engine.requests) == 1
        engine.wait_until_disconnected()


def test_a_local_engine_can_be_used_in_several_event_loops(socket_folder: Path) -> None:
    socket = socket_folder / "engine.sock"
    with scripted_engine(socket) as engine:
        model = local(socket)
        for _ in range(3):
            assert asyncio.run(ask(model)).usage
            engine.wait_until_disconnected()
        assert engine.requests[0].body["chat_template"] == "{{ x }}"
