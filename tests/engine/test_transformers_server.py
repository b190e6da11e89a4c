"""The real transformers server. The tests share one, in which they exchange versions."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine import ServedModel, checkpoint
from engine.command import SERVED_MODEL
from engine.control import ControlError, request
from engine.engine_log import last_errors
from engine.private_folder import make_private_folder
from engine.transformers_loading import VersionFiles
from engine.transformers_model import ChatRequest, TransformersModel, UnanswerableError
from schemas.errors import ConfigurationError, PlatformError

pytestmark = pytest.mark.engine

QUESTIONS = ["What is the capital of Germany?", "Name three planets."]
ADAPTERS = Path(__file__).parents[2] / "rehearsal" / "adapters"
TIMEOUT = 600.0
MAX_TOKENS = 12
MAX_MODEL_LEN = 8000  # the model's own is 8192
CHAT = "/v1/chat/completions"
_POLL_INTERVAL = 0.05  # seconds


def version(weights: Path, adapter: Path | None) -> dict[str, object]:
    folders = {"weights": str(weights), "tokenizer": str(weights)}
    return folders | {"adapter": str(adapter) if adapter else None}


def conversation(question: str) -> dict[str, object]:
    messages = [{"role": "user", "content": question}]
    return {"model": "any", "messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0}


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    socket: Path
    log: Path

    @classmethod
    def start(cls, folder: Path, *arguments: str) -> "Server":
        socket, log = folder / "engine.sock", folder / "engine.log"
        module = "engine.transformers_server"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, "--uds", str(socket), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"},
            )
        server = cls(process, socket, log)
        while not server.is_healthy():
            assert process.poll() is None, log.read_text()
            time.sleep(_POLL_INTERVAL)
        return server

    def is_healthy(self) -> bool:
        try:
            request(self.socket, "GET", "/health", timeout=TIMEOUT)
        except OSError:
            return False
        return True

    def load(self, weights: Path, adapter: Path | None = None) -> str:
        body = version(weights, adapter)
        return str(request(self.socket, "POST", "/load", body=body, timeout=TIMEOUT)["fingerprint"])

    def send(self, path: str, body: dict[str, object]) -> HTTPConnection:
        """Send a request and do not wait for its answer."""
        connection = HTTPConnection("engine")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.socket))
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return connection

    def chat(self, question: str, **more: object) -> dict[str, Any]:
        body = conversation(question) | more
        return request(self.socket, "POST", CHAT, body=body, timeout=TIMEOUT)

    def answer(self, question: str, **more: object) -> tuple[str, int]:
        """The answer and its number of tokens."""
        completion = self.chat(question, **more)
        text = completion["choices"][0]["message"]["content"]
        return text, completion["usage"]["completion_tokens"]

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(TIMEOUT)


@pytest.fixture(scope="module")
def started() -> Iterator[list[Server]]:
    """The servers of this file; one, because the test that ends it is the last."""
    servers: list[Server] = []
    yield servers
    for server in servers:
        server.end()
        shutil.rmtree(server.socket.parent)


@pytest.fixture
def server(started: list[Server]) -> Server:
    """A running server."""
    if not started or started[-1].process.poll() is not None:
        started.append(Server.start(make_private_folder(), "--max-model-len", str(MAX_MODEL_LEN)))
        with pytest.raises(ControlError, match="No model version is loaded"):
            started[-1].chat(QUESTIONS[0])
    return started[-1]


@pytest.fixture(scope="module")
def dora(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that vLLM does not support."""
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], use_dora=True)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base_folder), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
            if "magnitude" in name:
                parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("adapter")
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


@pytest.fixture
def copy(base_folder: Path, tmp_path: Path) -> Path:
    """A copy of the base, which a test changes."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in base_folder.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


def change(file: Path, **changes: object) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.unlink(missing_ok=True)  # it may be a link
    file.write_text(json.dumps(content | changes))


def directly(base: Path, adapter: Path | None) -> list[tuple[str, int]]:
    """The answers of transformers and peft in this process, with their numbers of tokens."""
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    device = torch.accelerator.current_accelerator(check_available=True)
    model: Any = AutoModelForCausalLM.from_pretrained(base, device_map=device)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    answers = []
    for question in QUESTIONS:
        prompt = tokenizer.apply_chat_template(
            conversation(question)["messages"],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        output = model.generate(
            **prompt.to(model.device), max_new_tokens=MAX_TOKENS, do_sample=False
        )
        tokens = output[0, prompt["input_ids"].shape[1] :]
        answers.append((tokenizer.decode(tokens, skip_special_tokens=True), len(tokens)))
    return answers


def test_every_version_gives_the_answers_of_transformers_and_peft(
    server: Server, base_folder: Path, dora: Path
) -> None:
    seen: dict[Path | None, tuple[str, list[tuple[str, int]]]] = {}
    for adapter in (None, ADAPTERS / "good", dora, None, dora):
        fingerprint = server.load(base_folder, adapter)
        answers = [server.answer(question) for question in QUESTIONS]
        assert seen.setdefault(adapter, (fingerprint, answers)) == (fingerprint, answers)
    for adapter, (_, answers) in seen.items():
        assert answers == directly(base_folder, adapter)
    assert len({fingerprint for fingerprint, _ in seen.values()}) == 3
    assert len({tuple(answers) for _, answers in seen.values()}) == 3
    assert "Berlin" in seen[None][1][0][0]


def test_the_engines_client_works_with_this_server(server: Server, base_folder: Path) -> None:
    server.load(base_folder)
    template = checkpoint.chat_template(base_folder)
    assert template is not None
    model = ServedModel.local(
        "base", socket=server.socket, chat_template=template, failure=PlatformError
    )
    messages = [{"role": "user", "content": QUESTIONS[0]}]
    completion = asyncio.run(model.chat(messages, temperature=0.0, max_tokens=MAX_TOKENS))
    assert completion.model == SERVED_MODEL
    assert completion.usage is not None
    counts = (completion.usage.prompt_tokens, completion.usage.completion_tokens)
    assert completion.usage.total_tokens == sum(counts)
    assert completion.choices[0].message.content == server.answer(QUESTIONS[0])[0]
    with pytest.raises(ConfigurationError, match="maximum context length is 8000 tokens"):
        asyncio.run(model.chat(messages, temperature=0.0, max_tokens=MAX_MODEL_LEN))


def test_the_default_limit_is_that_of_the_models_configuration(base_folder: Path) -> None:
    model = TransformersModel(VersionFiles(weights=base_folder, tokenizer=base_folder), None)
    request = ChatRequest.model_validate(conversation(QUESTIONS[0]) | {"max_tokens": 8190})
    with pytest.raises(UnanswerableError, match="maximum context length is 8192 tokens"):
        model.answer(request)


def test_an_answer_has_a_finish_reason(server: Server, base_folder: Path) -> None:
    server.load(base_folder)
    ended = [
        server.chat("What is 1 + 1? Answer with one word.", max_tokens=tokens)["choices"][0]
        for tokens in (1, 100)
    ]
    assert [choice["finish_reason"] for choice in ended] == ["length", "stop"]


def test_an_answer_has_no_additional_fields(server: Server, base_folder: Path) -> None:
    server.load(base_folder)
    completion = server.chat(QUESTIONS[0])
    assert set(completion) == {"id", "object", "created", "model", "choices", "usage"}
    assert set(completion["choices"][0]) == {"index", "finish_reason", "message"}


def test_a_request_can_have_its_own_chat_template(server: Server, base_folder: Path) -> None:
    server.load(base_folder)
    usual = server.chat(QUESTIONS[0])
    bare = server.chat(QUESTIONS[0], chat_template="{{ messages[0]['content'] }}")
    assert bare["usage"]["prompt_tokens"] < usual["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            {"chat_template": "{{ raise_exception('roles must alternate') }}"},
            "roles must alternate",
        ),
        ({"chat_template": "{% if %}"}, "Expected an expression"),
        ({"stream": True}, "Extra inputs are not permitted"),
        ({"temperature": -1}, "greater than or equal to 0"),
    ],
    ids=["a template that refuses", "a broken template", "a stream", "a negative temperature"],
)
def test_an_invalid_request_is_refused_with_the_reason(
    more: dict[str, object], reason: str, server: Server, base_folder: Path
) -> None:
    server.load(base_folder)
    with pytest.raises(ControlError, match=reason):
        server.chat(QUESTIONS[0], **more)


def test_a_versions_sampling_defaults_do_not_change_its_answers(
    server: Server, base_folder: Path, copy: Path
) -> None:
    server.load(base_folder)
    usual = server.answer(QUESTIONS[1])
    change(
        copy / "generation_config.json",
        do_sample=True,
        temperature=5.0,
        repetition_penalty=3.0,
        min_new_tokens=MAX_TOKENS,
        suppress_tokens=[28],
    )
    server.load(copy)
    assert server.answer(QUESTIONS[1]) == usual


def test_a_version_stops_at_the_stop_tokens_of_its_generation_config(
    server: Server, base_folder: Path, copy: Path
) -> None:
    server.load(base_folder)
    assert server.answer(QUESTIONS[0]) == ("The capital of Germany is Berlin.", 8)
    berlin = AutoTokenizer.from_pretrained(base_folder).encode(" Berlin")
    change(copy / "generation_config.json", eos_token_id=[2, *berlin])
    server.load(copy)
    completion = server.chat(QUESTIONS[0])
    assert completion["usage"]["completion_tokens"] == 6
    assert completion["choices"][0]["finish_reason"] == "stop"


def test_a_positive_temperature_samples(server: Server, base_folder: Path) -> None:
    server.load(base_folder)
    answers = {server.answer(QUESTIONS[1], temperature=2.0) for _ in range(3)}
    assert len(answers) > 1


def test_a_broken_version_gives_the_reason_and_the_next_one_is_served(
    server: Server, base_folder: Path, copy: Path
) -> None:
    broken = copy / "model.safetensors"
    broken.unlink()
    name = "model.layers.7.mlp.up_proj.weight"
    weights = load_file(base_folder / "model.safetensors") | {name: torch.zeros(8, 576)}
    save_file(weights, broken, metadata={"format": "pt"})
    reason = r"layers\.7\.mlp\.up_proj\.weight has the shape \(8, 576\) instead of \(1536, 576\)"
    with pytest.raises(ControlError, match=reason):
        server.load(copy)
    assert "mlp.up_proj.weight has the shape (8, 576)" in last_errors(server.log)
    with pytest.raises(ControlError, match="No model version is loaded"):
        server.chat(QUESTIONS[0])
    server.load(base_folder)
    assert "Berlin" in server.answer(QUESTIONS[0])[0]


def test_the_server_is_healthy_while_it_answers_one_request_at_a_time(
    server: Server, base_folder: Path
) -> None:
    server.load(base_folder)
    alone = server.answer("Count to one hundred.", max_tokens=24)
    with ThreadPoolExecutor() as pool:
        futures = [
            pool.submit(server.answer, "Count to one hundred.", max_tokens=24) for _ in range(3)
        ]
        assert server.is_healthy()
        assert not all(future.done() for future in futures)
        assert [future.result() for future in futures] == [alone] * 3


def test_a_request_whose_client_disconnected_is_skipped(server: Server, base_folder: Path) -> None:
    server.load(base_folder)
    usual = server.answer(QUESTIONS[0])
    before = server.send(CHAT, conversation("Count to one hundred.") | {"max_tokens": 100})
    server.send("/load", version(base_folder, ADAPTERS / "good")).close()
    assert server.answer(QUESTIONS[0]) == usual
    assert before.getresponse().status == 200
    before.close()


def test_a_terminated_server_does_not_finish_its_answer(server: Server, base_folder: Path) -> None:
    server.load(base_folder)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(server.chat, "Count to one hundred.", max_tokens=350)
        assert server.is_healthy()
        assert server.end() == -signal.SIGTERM
        assert answer.exception() is not None
