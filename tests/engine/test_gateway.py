"""The gateway: where requests go, what comes back, what is counted, and what makes it fail."""

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import SecretStr

from engine.client import ServedModel
from engine.gateway import Gateway
from schemas.applications import ModelEndpoint
from schemas.errors import ConfigurationError, PlatformError
from schemas.usage import ModelUsage
from tests.engine.scripted_engine import (
    BROKEN,
    TIMEOUT,
    Answer,
    ScriptedEngine,
    completion,
    error,
    event_stream,
    ok,
    scripted_engine,
    soon,
    streamed,
)
from tests.waiting import wait_for

VERSION = "wandb-artifact:///acme/wandb-registry-Chat Models/support:v3"
JUDGE = "judge-model"
JUDGE_KEY = "the-judges-secret-key"
KEYS = {"WEIGHBRIDGE_MODEL_JUDGE": JUDGE_KEY}
MESSAGES: Any = [{"role": "user", "content": "What is the capital of Germany?"}]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
LAST_WORDS = "The engine stopped: torch.OutOfMemoryError: 3 GiB."


def chunk(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"} | {
        "choices": [choice]
    }


USAGE_CHUNK = chunk("") | {"choices": [], "usage": USAGE}
STREAM = streamed(chunk("Ber"), chunk("lin"), USAGE_CHUNK, "[DONE]")


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as running:
        yield running


@pytest.fixture
def judge() -> Iterator[ScriptedEngine]:
    with scripted_engine() as running:
        yield running


def remote(url: str, retries: int = 0) -> ServedModel:
    return ServedModel.remote(
        "the version",
        base_url=url,
        api_key=SecretStr("the-engines-secret-key"),
        model="m",
        chat_template="{{ messages }}",
        retries=retries,
        failure=lambda _what: PlatformError(LAST_WORDS),
    )


def local(path: Path, max_concurrency: int | None = None) -> ServedModel:
    return ServedModel.local(
        "the version",
        socket=path,
        model="m",
        chat_template="{{ messages }}",
        failure=lambda _what: PlatformError(LAST_WORDS),
        max_concurrency=max_concurrency,
        logprobs=True,
    )


def judged_at(url: str, **settings: Any) -> dict[str, ModelEndpoint]:
    fields = {"base_url": url, "key_variable": "WEIGHBRIDGE_MODEL_JUDGE", "model": "gpt-9"}
    return {JUDGE: ModelEndpoint.model_validate(fields | settings)}


@contextmanager
def serving(
    served: ServedModel,
    name: str,
    models: Mapping[str, ModelEndpoint],
    keys: Mapping[str, str] = KEYS,
) -> Iterator[Gateway]:
    with Gateway(models, keys) as running:
        running.serve(served, name)
        yield running


@pytest.fixture
def gateway(engine: ScriptedEngine, judge: ScriptedEngine) -> Iterator[Gateway]:
    models = judged_at(judge.url, retries=0)
    with serving(remote(engine.url), VERSION, models, KEYS) as running:
        yield running


@contextmanager
def client_of(gateway: Gateway) -> Iterator[OpenAI]:
    """A client as an application makes it: with retries of its own."""
    with OpenAI(base_url=gateway.url, api_key=gateway.token) as client:
        yield client


def ask(gateway: Gateway, model: str = VERSION, **fields: Any) -> Any:
    with client_of(gateway) as client:
        return client.chat.completions.create(model=model, messages=MESSAGES, **fields)


def read_stream(gateway: Gateway, **fields: Any) -> list[Any]:
    with client_of(gateway) as client:
        return list(
            client.chat.completions.create(model=VERSION, messages=MESSAGES, stream=True, **fields)
        )


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code"} == found.keys()
    return found


def post(gateway: Gateway, path: str = "/chat/completions", **request: Any) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {gateway.token}"}
    return httpx2.post(f"{gateway.url}{path}", headers=headers, **request)


# Where requests go


def test_a_chat_completion_comes_from_the_engine_with_the_versions_template(
    engine: ScriptedEngine, gateway: Gateway
) -> None:
    answer = ask(gateway, temperature=0, extra_body={"top_k": 7, "nested": {"of": ["vLLM", None]}})
    assert answer.choices[0].message.content == "Hello."
    assert answer.model == VERSION
    [request] = engine.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer the-engines-secret-key"
    assert request.body == {
        "model": "m",
        "messages": MESSAGES,
        "temperature": 0,
        "top_k": 7,
        "nested": {"of": ["vLLM", None]},
        "chat_template": "{{ messages }}",
    }


def test_an_engine_on_a_unix_socket_is_reached_too(socket_folder: Path) -> None:
    path = socket_folder / "engine.sock"

    async def ask_twice(gateway: Gateway) -> list[str]:
        async with AsyncOpenAI(base_url=gateway.url, api_key=gateway.token) as client:
            asked = (
                client.chat.completions.create(model=VERSION, messages=MESSAGES) for _ in range(2)
            )
            return [answer.model for answer in await asyncio.gather(*asked)]

    with scripted_engine(path) as engine, serving(local(path), VERSION, {}) as gateway:
        engine.will_answer(completion(), completion(), event_stream(STREAM))
        assert asyncio.run(ask_twice(gateway)) == [VERSION, VERSION]
        assert [one.choices[0].delta.content for one in read_stream(gateway)] == ["Ber", "lin"]
        assert {"chat_template": "{{ messages }}", "logprobs": True}.items() <= (
            engine.requests[0].body.items()
        )


def test_an_applications_own_template_and_logprobs_are_kept(
    engine: ScriptedEngine, gateway: Gateway
) -> None:
    ask(gateway, logprobs=False, extra_body={"chat_template": "{{ mine }}"})
    assert engine.requests[0].body["logprobs"] is False
    assert engine.requests[0].body["chat_template"] == "{{ mine }}"


def test_completions_and_embeddings_are_forwarded_as_they_are(
    engine: ScriptedEngine, gateway: Gateway
) -> None:
    choice = {"index": 0, "text": "Berlin", "finish_reason": "stop", "logprobs": None}
    text = {"id": "1", "object": "text_completion", "created": 1, "model": "m"}
    vectors = {"object": "list", "model": "m", "data": [{"index": 0, "embedding": [0.1, -2e-9]}]}
    engine.will_answer(
        ok(text | {"choices": [choice], "usage": USAGE}),
        ok(vectors | {"usage": {"prompt_tokens": 4, "total_tokens": 4}}),
    )
    with client_of(gateway) as client:
        completed = client.completions.create(model=VERSION, prompt="The capital is")
        embedded = client.embeddings.create(model=VERSION, input="capital", encoding_format="float")
    assert (completed.choices[0].text, completed.model) == ("Berlin", VERSION)
    assert (embedded.data[0].embedding, embedded.model) == ([0.1, -2e-9], VERSION)
    assert [request.path for request in engine.requests] == ["/v1/completions", "/v1/embeddings"]
    assert engine.requests[0].body == {"model": "m", "prompt": "The capital is"}
    used = gateway.usage()[VERSION]
    assert (used.prompt_tokens, used.completion_tokens, used.total_tokens) == (7, 2, 9)


def test_responses_are_forwarded_and_counted(engine: ScriptedEngine, gateway: Gateway) -> None:
    usage = {"input_tokens": 6, "output_tokens": 1, "total_tokens": 7}
    response = {"id": "1", "object": "response", "model": "m", "output": [], "usage": usage}
    last = {"type": "response.completed", "sequence_number": 1, "response": response}
    engine.will_answer(ok(response), event_stream(streamed(last)))
    with client_of(gateway) as client:
        whole = client.responses.create(model=VERSION, input="Hello")
        [event] = client.responses.create(model=VERSION, input="Hello", stream=True)
    assert whole.model == VERSION
    assert event.type == "response.completed"
    assert event.response.model == VERSION
    assert "stream_options" not in engine.requests[1].body
    assert gateway.usage()[VERSION].total_tokens == 14


def test_a_judge_that_shares_the_client_is_another_model_with_the_operators_key(
    engine: ScriptedEngine, judge: ScriptedEngine, gateway: Gateway
) -> None:
    judge.will_answer(completion("yes"))
    answer = ask(gateway, JUDGE)
    assert (answer.choices[0].message.content, answer.model) == ("yes", JUDGE)
    [request] = judge.requests
    assert request.headers["authorization"] == f"Bearer {JUDGE_KEY}"
    assert request.body == {"model": "gpt-9", "messages": MESSAGES}
    assert not engine.requests


def test_the_models_are_exactly_those_that_exist(gateway: Gateway) -> None:
    with client_of(gateway) as client:
        assert [model.id for model in client.models.list()] == [VERSION, JUDGE]


@pytest.mark.parametrize("name", ["m", "gpt-9", JUDGE.upper(), f"{VERSION} ", ""])
def test_any_other_name_is_refused_with_the_names_that_exist(
    name: str, engine: ScriptedEngine, judge: ScriptedEngine, gateway: Gateway
) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        ask(gateway, name)
    assert refused.value.code == "model_not_found"
    for part in (f"'{name}'", f"'{VERSION}', '{JUDGE}'", "application.models"):
        assert part in str(refused.value)
    assert not engine.requests
    assert not judge.requests
    gateway.check()


@pytest.mark.parametrize("key", ["wrong", "the-engines-secret-key"])
def test_a_wrong_token_is_refused(key: str, engine: ScriptedEngine, gateway: Gateway) -> None:
    with (
        OpenAI(base_url=gateway.url, api_key=key) as client,
        pytest.raises(openai.AuthenticationError, match="OPENAI_API_KEY"),
    ):
        client.chat.completions.create(model=VERSION, messages=MESSAGES)
    assert not engine.requests


@pytest.mark.parametrize("path", ["/chat/completions", "/models", "/nothing"])
def test_a_missing_token_is_refused_everywhere(path: str, gateway: Gateway) -> None:
    answer = httpx2.get(f"{gateway.url}{path}")
    assert answer.status_code == 401
    assert error_of(answer)["code"] == "invalid_api_key"


def test_every_gateway_has_a_token_of_its_own() -> None:
    tokens = {Gateway({}).token for _ in range(3)}
    assert len(tokens) == 3


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/chat/completions", b"no json", 400),
        ("/chat/completions", b"[" * 100_000, 400),
        ("/chat/completions", b"[1]", 400),
        ("/chat/completions", b'{"model": 3}', 400),
        ("/files", b"{}", 404),
    ],
)
def test_what_is_no_request_is_refused_in_openais_format(
    path: str, content: bytes, status: int, gateway: Gateway
) -> None:
    answer = post(gateway, path, content=content)
    assert answer.status_code == status
    assert error_of(answer)["message"]


# Streams


def test_a_stream_is_passed_on_as_it_arrives(engine: ScriptedEngine, gateway: Gateway) -> None:
    hold = threading.Event()
    engine.will_answer(
        event_stream(
            streamed(chunk("lin"), USAGE_CHUNK, "[DONE]"), early=streamed(chunk("Ber")), after=hold
        )
    )
    with client_of(gateway) as client:
        stream = client.chat.completions.create(model=VERSION, messages=MESSAGES, stream=True)
        first = next(stream)
        hold.set()
        [second] = stream
    assert [first.choices[0].delta.content, second.choices[0].delta.content] == ["Ber", "lin"]
    assert (first.model, second.model) == (VERSION, VERSION)


def test_the_usage_of_a_stream_is_counted_and_hidden_unless_it_was_asked_for(
    engine: ScriptedEngine, gateway: Gateway
) -> None:
    engine.will_answer(event_stream(STREAM))
    hidden = read_stream(gateway)
    shown = read_stream(gateway, stream_options={"include_usage": True})
    assert len(hidden) == 2
    assert shown[-1].usage.total_tokens == 5
    for request in engine.requests:
        assert request.body["stream_options"] == {"include_usage": True}
    assert gateway.usage()[VERSION].total_tokens == 10


@pytest.mark.parametrize("options", ["all", [1]])
def test_stream_options_that_are_none_are_the_engines_to_refuse(
    options: Any, engine: ScriptedEngine, gateway: Gateway
) -> None:
    engine.will_answer(error(400, "not an object"))
    answer = post(
        gateway, json={"model": VERSION, "messages": [], "stream": True, "stream_options": options}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "not an object"
    assert engine.requests[0].body["stream_options"] == options


def test_a_stream_without_a_last_line_break_is_whole(
    engine: ScriptedEngine, gateway: Gateway
) -> None:
    engine.will_answer(event_stream(STREAM.rstrip().replace(b"\n", b"\r\n")))
    assert len(read_stream(gateway)) == 2


@pytest.mark.parametrize(
    "answer",
    [
        event_stream(b"never sent", early=streamed(chunk("Ber")), is_cut=True),
        event_stream(streamed(chunk("Ber"))),
        event_stream(streamed(chunk("Ber"), {"error": {"message": "died", "code": 500}})),
        BROKEN,
    ],
    ids=["cut connection", "no end", "error event", "no answer"],
)
def test_an_engine_that_dies_in_a_stream_fails_the_attempt(
    answer: Answer, engine: ScriptedEngine, gateway: Gateway
) -> None:
    engine.will_answer(answer)
    with pytest.raises(openai.APIError, match="OutOfMemoryError"):
        read_stream(gateway)
    with pytest.raises(PlatformError, match="OutOfMemoryError"):
        gateway.check()
    assert gateway.usage()[VERSION].failed_requests == 1


def test_a_stream_that_ends_because_of_the_request_is_no_failure_of_the_engine(
    engine: ScriptedEngine, gateway: Gateway
) -> None:
    refused = {"error": {"message": "a bad schema", "code": 400}}
    engine.will_answer(event_stream(streamed(chunk("Ber"), refused)))
    with pytest.raises(openai.APIError, match="a bad schema"):
        read_stream(gateway)
    gateway.check()


# Errors


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_error_that_the_application_caused_is_passed_to_it(
    status: int, engine: ScriptedEngine, gateway: Gateway
) -> None:
    engine.will_answer(error(status, "maximum context length is 8192"), completion())
    with pytest.raises(openai.APIStatusError, match="maximum context length") as refused:
        ask(gateway)
    assert refused.value.status_code == status
    ask(gateway)
    gateway.check()
    assert "maximum context length" in str(gateway.refusal())
    used = gateway.usage()[VERSION]
    assert (used.requests, used.failed_requests, used.total_tokens) == (2, 1, 5)


@pytest.mark.parametrize("answer", [BROKEN, error(500, "EngineDeadError"), soon(429)])
def test_an_engine_that_fails_is_asked_once_and_fails_the_attempt(
    answer: Answer, socket_folder: Path
) -> None:
    path = socket_folder / "engine.sock"
    with scripted_engine(path) as engine, serving(local(path), VERSION, {}) as gateway:
        engine.will_answer(answer)
        gateway.check()
        for _ in range(2):  # the client would retry, and the application goes on
            with pytest.raises(openai.APIStatusError):
                ask(gateway)
        assert len(engine.requests) == 1
        with pytest.raises(PlatformError, match="OutOfMemoryError"):
            gateway.check()
        assert gateway.usage()[VERSION].failed_requests == 2


def test_an_engine_that_ended_is_a_502_with_its_last_words(socket_folder: Path) -> None:
    with serving(local(socket_folder / "no.sock"), VERSION, {}) as gateway:
        with pytest.raises(openai.InternalServerError, match="OutOfMemoryError") as failed:
            ask(gateway)
        assert failed.value.status_code == 502


def test_a_version_that_the_engine_lost_fails_the_attempt(
    engine: ScriptedEngine, gateway: Gateway
) -> None:
    engine.will_answer(error(404, "The model `m` does not exist."))
    with pytest.raises(openai.NotFoundError):
        ask(gateway)
    with pytest.raises(ConfigurationError, match="does not exist"):
        gateway.check()


@pytest.mark.parametrize("answer", [Answer(404, b'{"detail":"Not Found"}'), error(501)])
def test_an_endpoint_that_the_engine_lacks_is_named(
    answer: Answer, engine: ScriptedEngine, gateway: Gateway
) -> None:
    engine.will_answer(answer)
    with client_of(gateway) as client:
        expected = f"The engine at {engine.url} has no /v1/responses"
        with pytest.raises(openai.NotFoundError, match=expected):
            client.responses.create(model=VERSION, input="Hello")
    gateway.check()


def test_a_judge_is_retried_by_its_own_rule(judge: ScriptedEngine, engine: ScriptedEngine) -> None:
    judge.will_answer(soon(503), soon(429), completion("yes"))
    models = judged_at(judge.url, retries=2)
    with serving(remote(engine.url), VERSION, models, KEYS) as gateway:
        ask(gateway, JUDGE)
        gateway.check()
        assert gateway.usage()[JUDGE].requests == 1
    assert len(judge.requests) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_judge_that_stays_overloaded_fails_the_attempt(
    status: int, judge: ScriptedEngine, gateway: Gateway
) -> None:
    judge.will_answer(soon(status))
    with pytest.raises(openai.APIStatusError):
        ask(gateway, JUDGE)
    with pytest.raises(PlatformError, match=f"endpoint of 'judge-model' at {judge.url}"):
        gateway.check()


@pytest.mark.parametrize(
    ("answer", "fix"),
    [
        (error(401), "Check WEIGHBRIDGE_MODEL_JUDGE."),
        (error(404), "Check base_url"),
        (error(405), ""),
        (Answer(200, b"<html>"), "ends in /v1"),
    ],
)
def test_a_judge_that_the_operator_must_correct_is_a_configuration_error(
    answer: Answer, fix: str, judge: ScriptedEngine, gateway: Gateway
) -> None:
    judge.will_answer(answer)
    with pytest.raises(openai.APIStatusError):
        ask(gateway, JUDGE)
    with pytest.raises(ConfigurationError) as failed:
        gateway.check()
    assert fix in failed.value.fix
    ask(gateway)  # the version is still served


def test_the_failure_of_the_versions_engine_comes_first(
    engine: ScriptedEngine, judge: ScriptedEngine, gateway: Gateway
) -> None:
    judge.will_answer(error(401))
    engine.will_answer(BROKEN)
    for model in (JUDGE, VERSION):
        with pytest.raises(openai.APIStatusError):
            ask(gateway, model)
    with pytest.raises(PlatformError, match="OutOfMemoryError"):
        gateway.check()


@pytest.mark.parametrize(
    "answer",
    [
        error(400, f"Received {JUDGE_KEY}"),
        error(401, f"Received {JUDGE_KEY}"),
        error(429, f"{JUDGE_KEY} is over its limit"),
        Answer(502, f"<html>{JUDGE_KEY}</html>".encode()),
        completion(f"Your key is {JUDGE_KEY}."),
        event_stream(streamed(chunk(JUDGE_KEY), f"no json {JUDGE_KEY}", "[DONE]")),
        event_stream(streamed({"error": {"message": JUDGE_KEY, "code": 400}})),
        event_stream(streamed({"error": {"message": JUDGE_KEY}})),
        BROKEN,
    ],
)
def test_the_operators_key_is_in_no_answer_no_error_and_no_log(
    answer: Answer, judge: ScriptedEngine, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    judge.will_answer(answer)
    body = {"model": JUDGE, "messages": MESSAGES, "stream": "text/event-stream" in str(answer)}
    with caplog.at_level(logging.DEBUG):
        answered = post(gateway, json=body)
    failure = ""
    try:
        gateway.check()
    except (PlatformError, ConfigurationError) as failed:
        failure = str(failed)
    assert judge.requests[0].headers["authorization"].endswith(JUDGE_KEY)
    for text in (answered.text, str(answered.headers), failure, caplog.text):
        assert JUDGE_KEY not in text


# Limits and cancellation


def test_no_more_requests_are_sent_at_once_than_the_engine_answers(socket_folder: Path) -> None:
    path = socket_folder / "engine.sock"
    hold = threading.Event()
    served = local(path, max_concurrency=2)
    with scripted_engine(path) as engine, serving(served, VERSION, {}) as gateway:
        engine.will_answer(completion(after=hold))
        threads = [threading.Thread(target=ask, args=(gateway,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        engine.wait_for_requests(2)
        with client_of(gateway) as client:  # the gateway is free for others
            client.models.list()
        assert len(engine.requests) == 2
        hold.set()
        for thread in threads:
            thread.join()
        assert gateway.usage()[VERSION].requests == 5


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_whose_client_disconnects_is_cancelled(
    stream: bool, engine: ScriptedEngine, gateway: Gateway
) -> None:
    hold = threading.Event()
    engine.will_answer(
        event_stream(b"more", early=streamed(chunk("Ber")), after=hold)
        if stream
        else completion(after=hold)
    )

    async def give_up() -> None:
        async with AsyncOpenAI(base_url=gateway.url, api_key=gateway.token) as client:
            asked = asyncio.create_task(
                client.chat.completions.create(model=VERSION, messages=MESSAGES, stream=stream)
            )
            await asyncio.to_thread(engine.wait_for_requests, 1)
            if stream:
                await (await asked).close()  # type: ignore[union-attr]
            asked.cancel()

    asyncio.run(give_up())
    hold.set()
    engine.wait_until_disconnected()  # the gateway keeps the connection of a whole answer open
    wait_for(lambda: gateway.usage()[VERSION].requests == 1, TIMEOUT)
    assert gateway.usage()[VERSION] == ModelUsage(requests=1, failed_requests=1)
    gateway.check()


def test_connections_to_the_engine_are_kept_between_requests(
    engine: ScriptedEngine, gateway: Gateway
) -> None:
    engine.will_answer(completion(), event_stream(STREAM), completion())
    ask(gateway)
    read_stream(gateway)
    ask(gateway)
    assert engine.connections == 1


def test_a_request_that_is_being_answered_at_the_end_is_cancelled(engine: ScriptedEngine) -> None:
    hold = threading.Event()
    engine.will_answer(completion(after=hold))
    failures: list[openai.APIError] = []

    def ask_once(gateway: Gateway) -> None:
        with OpenAI(base_url=gateway.url, api_key=gateway.token, max_retries=0) as client:
            try:
                client.chat.completions.create(model=VERSION, messages=MESSAGES)
            except openai.APIError as error:
                failures.append(error)

    with serving(remote(engine.url), VERSION, {}) as gateway:
        thread = threading.Thread(target=ask_once, args=(gateway,))
        thread.start()
        engine.wait_for_requests(1)
    thread.join(TIMEOUT)
    hold.set()
    assert len(failures) == 1
    assert gateway.usage()[VERSION].failed_requests == 1


def test_nothing_is_left_after_the_block(engine: ScriptedEngine) -> None:
    with serving(remote(engine.url), VERSION, {}) as gateway:
        ask(gateway)
        port = int(gateway.url.split(":")[2].removesuffix("/v1"))
    engine.wait_until_disconnected()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), TIMEOUT)
    assert "loopback-server" not in [thread.name for thread in threading.enumerate()]
    assert gateway.usage()[VERSION].requests == 1


# Counting


def test_requests_tokens_and_seconds_are_counted_for_each_model(
    engine: ScriptedEngine, judge: ScriptedEngine, gateway: Gateway
) -> None:
    unused = gateway.usage()
    for model in (VERSION, JUDGE, VERSION):
        ask(gateway, model)
    assert gateway.refusal() is None
    used = gateway.usage()
    assert unused == {VERSION: ModelUsage(), JUDGE: ModelUsage()}
    assert (used[VERSION].requests, used[JUDGE].requests) == (2, 1)
    assert (used[VERSION].total_tokens, used[JUDGE].total_tokens) == (10, 5)
    assert len(used[VERSION].seconds) == 2
    assert all(0 < seconds < TIMEOUT for seconds in used[VERSION].seconds)


def test_an_answer_without_usage_is_counted_apart(engine: ScriptedEngine, gateway: Gateway) -> None:
    engine.will_answer(ok({"id": "1", "object": "chat.completion", "model": "m", "choices": []}))
    ask(gateway)
    used = gateway.usage()[VERSION]
    assert (used.requests, used.failed_requests, used.uncounted_requests) == (1, 0, 1)


# Configuration


@pytest.mark.parametrize("keys", [{}, {"WEIGHBRIDGE_MODEL_JUDGE": ""}])
def test_a_key_that_is_not_set_is_named(keys: dict[str, str], engine: ScriptedEngine) -> None:
    with pytest.raises(ConfigurationError, match=r"WEIGHBRIDGE_MODEL_JUDGE.*judge-model"):
        Gateway(judged_at(engine.url), keys)


def test_a_model_without_a_key_needs_none(engine: ScriptedEngine, judge: ScriptedEngine) -> None:
    models = {JUDGE: ModelEndpoint.model_validate({"base_url": judge.url})}
    with serving(remote(engine.url), VERSION, models, {}) as gateway:
        ask(gateway, JUDGE)
    assert judge.requests[0].body["model"] == JUDGE


def test_no_other_model_may_have_the_versions_name(engine: ScriptedEngine) -> None:
    with (
        pytest.raises(ConfigurationError, match="'judge-model'"),
        serving(remote(engine.url), JUDGE, judged_at(engine.url)),
    ):
        pass


def test_until_the_version_is_served_only_the_other_models_exist(engine: ScriptedEngine) -> None:
    with Gateway(judged_at(engine.url), KEYS) as gateway, client_of(gateway) as client:
        assert [model.id for model in client.models.list()] == [JUDGE]
        gateway.serve(remote(engine.url), VERSION)
        assert [model.id for model in client.models.list()] == [VERSION, JUDGE]


def test_connections_to_a_version_that_is_served_later_are_kept_too(engine: ScriptedEngine) -> None:
    with Gateway({}) as gateway, client_of(gateway) as client:
        client.models.list()  # the gateway has started
        gateway.serve(remote(engine.url), VERSION)
        ask(gateway)
        ask(gateway)
        assert engine.connections == 1
