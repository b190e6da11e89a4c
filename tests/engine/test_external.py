"""An engine of somebody else: a real vLLM server over TCP, with a key."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from pydantic import SecretStr
from safetensors.torch import load_file, save_file

from engine import Engine, ServedModel, guard
from engine.artifact import Adapter, open_version
from engine.command import environment
from engine.external import ExternalEngine
from engine.options import ServeOptions
from engine.shared_server import SharedServer
from rehearsal.processes import wait_until
from rehearsal.redis_server import free_port
from schemas.errors import ArtifactError, ConfigurationError, PlatformError
from schemas.settings import Settings
from tests.engine.scripted_engine import (
    ScriptedEngine,
    completion,
    error,
    models,
    ok,
    scripted_engine,
    soon,
)

KEY = "the-secret-key"
NAME = "wandb32/wandb-registry-RAG Chat Models/Finetuned SmolLM2:v3"
GOOD = Path(__file__).parents[2] / "rehearsal" / "adapters" / "good"
# The adapter answers in a word where its base makes a sentence. Its first choice leads by more than
# 1.6 nats in every token, so that no rounding (bf16, merged or not) turns it.
CAPITALS = {"Germany": "Berlin", "France": "Paris", "Japan": "Tokyo", "Spain": "Madrid"}


def is_up(url: str) -> bool:
    try:
        with urlopen(url, timeout=10):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def vllm(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server that takes adapters up to rank 8 and no chat templates."""
    folder, port = tmp_path_factory.mktemp("vllm"), free_port()
    log = folder / "vllm.log"
    command = [
        *(sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(base_folder), "--host", "127.0.0.1", "--port", str(port)),
        *("--enable-lora", "--max-lora-rank", "8", "--max-loras", "2"),
        *("--max-model-len", "2048", "--enforce-eager", "--generation-config", "vllm"),
        *("--api-key", KEY),
    ]
    allowed = environment(Settings()) | {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=allowed, cwd=folder, process_group=0
        )
    try:
        health = f"http://127.0.0.1:{port}/health"
        wait_until(lambda: is_up(health), process, "vLLM", log, Settings().engine_start_budget)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        guard.end_group(process)


@pytest.fixture
def scripted() -> Iterator[ScriptedEngine]:
    with scripted_engine() as running:
        yield running


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A copy of the rehearsal's good adapter, which a test changes."""
    return Path(shutil.copytree(GOOD, tmp_path / "adapter"))


def external(url: str, *, key: str = KEY, retries: int = 2) -> ExternalEngine:
    return ExternalEngine(
        Settings.model_validate({"engine_url": url, "engine_key": key, "engine_retries": retries})
    )


def served_by(url: str) -> list[str]:
    request = Request(f"{url}/models", headers={"Authorization": f"Bearer {KEY}"})
    with urlopen(request) as response:
        return [model["id"] for model in json.load(response)["data"]]


def answers(model: ServedModel) -> list[str]:
    async def ask() -> list[str]:  # one after another: batches change the rounding
        return [await answer(model, f"What is the capital of {land}?") for land in CAPITALS]

    return asyncio.run(ask())


async def answer(model: ServedModel, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    completion = await model.chat(messages, temperature=0.0, max_tokens=8)
    return str(completion.choices[0].message.content)


def refused(
    engine: ExternalEngine,
    folder: Path,
    options: ServeOptions = ServeOptions(),  # noqa: B008
) -> Exception:
    with (
        pytest.raises((ArtifactError, ConfigurationError, PlatformError)) as caught,
        engine.serve(folder, NAME, options=options),
    ):
        pass
    assert KEY not in str(caught.value)
    return caught.value


def change(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_an_adapter_is_loaded_and_unloaded_again(vllm: str) -> None:
    before, told = served_by(vllm), list[str]()
    with external(vllm).serve(GOOD, NAME, told.append) as model:
        [loaded] = set(served_by(vllm)) - set(before)
        assert answers(model) == list(CAPITALS.values())
        assert model.name == NAME
        assert model.chat_template_digest is None
    assert served_by(vllm) == before
    assert loaded.startswith("weighbridge-")
    assert told == [f"the engine loaded the adapter as {loaded}"]


def test_an_adapter_is_unloaded_after_an_error(vllm: str) -> None:
    before = served_by(vllm)
    with pytest.raises(KeyError, match="of the block"), external(vllm).serve(GOOD, NAME):
        raise KeyError("of the block")
    assert served_by(vllm) == before


def test_workers_that_serve_the_same_version_do_not_unload_each_others(vllm: str) -> None:
    with external(vllm).serve(GOOD, NAME) as mine:
        with external(vllm).serve(GOOD, NAME):
            pass
        assert answers(mine) == list(CAPITALS.values())


def test_a_merged_adapter_and_a_loaded_one_give_the_same_answers(vllm: str, engine: Engine) -> None:
    with engine.serve(GOOD, NAME) as merged, external(vllm).serve(GOOD, NAME) as loaded:
        assert answers(merged) == answers(loaded)


def test_a_rank_above_the_servers_limit_is_refused_in_its_words(vllm: str, adapter: Path) -> None:
    resize(adapter, rank=16)
    refusal = refused(external(vllm), adapter)
    assert isinstance(refusal, ArtifactError)
    assert "LoRA rank 16 is greater than max_lora_rank 8" in str(refusal)
    assert NAME in str(refusal)


def resize(adapter: Path, *, rank: int) -> None:
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    for name, tensor in tensors.items():
        dimension = 0 if "lora_A" in name else 1
        times = rank // tensor.shape[dimension]
        tensors[name] = tensor.repeat_interleave(times, dim=dimension)
    save_file(tensors, weights)
    change(adapter / "adapter_config.json", r=rank)


def test_modules_that_the_server_does_not_have_are_refused_in_its_words(
    vllm: str, adapter: Path
) -> None:
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file({name.replace("q_proj", "x_proj"): tensors[name] for name in tensors}, weights)
    refusal = refused(external(vllm), adapter)
    assert isinstance(refusal, ArtifactError)
    assert "expected target modules in" in str(refusal)


@pytest.mark.parametrize("setting", [{"use_dora": True}, {"peft_type": "IA3"}])
def test_what_a_server_may_ignore_is_refused_here(
    setting: dict[str, object], vllm: str, adapter: Path
) -> None:
    change(adapter / "adapter_config.json", **setting)
    refusal = refused(external(vllm), adapter)
    assert isinstance(refusal, ArtifactError)
    assert next(iter(setting)) in str(refusal)


def test_an_adapter_of_another_base_is_refused_and_unloaded(vllm: str, adapter: Path) -> None:
    """vLLM would answer nonsense."""
    change(adapter / "adapter_config.json", base_model_name_or_path="team/another")
    before = served_by(vllm)
    refusal = refused(external(vllm), adapter)
    assert isinstance(refusal, ConfigurationError)
    assert "was trained on team/another" in str(refusal)
    assert served_by(vllm) == before


def test_a_wrong_key_is_the_operators_matter(vllm: str) -> None:
    refusal = refused(external(vllm, key="another-key"), GOOD)
    assert isinstance(refusal, ConfigurationError)
    assert "Check WEIGHBRIDGE_ENGINE_KEY" in str(refusal)
    assert "another-key" not in str(refusal)


def test_a_checkpoint_is_refused(vllm: str, base_folder: Path) -> None:
    refusal = refused(external(vllm), base_folder)
    assert isinstance(refusal, ConfigurationError)
    assert "is a full checkpoint" in str(refusal)
    assert "Unset WEIGHBRIDGE_ENGINE_URL" in str(refusal)


def test_a_checkpoint_that_the_server_lists_is_asked_for_by_its_name(
    scripted: ScriptedEngine, base_folder: Path
) -> None:
    scripted.will_answer(models("base", NAME), completion())
    with external(scripted.url).serve(base_folder, NAME) as model:
        answers(model)
    assert {request.body["model"] for request in scripted.requests[1:]} == {NAME}


def test_a_template_that_the_server_does_not_take_is_refused_at_once(
    vllm: str, adapter: Path
) -> None:
    (adapter / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    before = served_by(vllm)
    refusal = refused(external(vllm), adapter)
    assert isinstance(refusal, ConfigurationError)
    assert "Start the server with --trust-request-chat-template" in str(refusal)
    assert served_by(vllm) == before


def test_a_folder_that_the_server_does_not_see_is_the_operators_matter(
    vllm: str, adapter: Path
) -> None:
    """The server runs on this machine; without its configuration the adapter is not seen."""
    opened = open_version(adapter)
    assert isinstance(opened, Adapter)
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(ConfigurationError, match="under the same path") as caught:
        SharedServer(vllm, SecretStr(KEY)).load(opened, NAME)
    assert str(adapter) in str(caught.value)


@pytest.mark.parametrize("status", [404, 405])
def test_where_adapters_cannot_be_loaded_the_artifact_is_asked_for(
    status: int, scripted: ScriptedEngine
) -> None:
    scripted.will_answer(models("some/base"), error(status), completion())
    with external(scripted.url).serve(GOOD, NAME) as model:
        answers(model)
    asked = [request.body.get("model") for request in scripted.requests]
    assert asked[2:] == [f"wandb-artifact:///{NAME}"] * (1 + len(CAPITALS))
    assert not [request for request in scripted.requests if "unload" in request.path]


def test_a_server_that_knows_no_such_artifact_is_told_of_at_once(scripted: ScriptedEngine) -> None:
    scripted.will_answer(models("some/base"), error(404), error(404, "The model does not exist."))
    refusal = refused(external(scripted.url), GOOD)
    assert isinstance(refusal, ConfigurationError)
    assert "The model does not exist." in str(refusal)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in str(refusal)


def test_a_server_that_was_started_anew_and_forgot_the_adapter_is_worth_another_try(
    scripted: ScriptedEngine, adapter: Path
) -> None:
    base = Adapter.model_validate(open_version(adapter)).config.base_model_name_or_path
    forgot = error(404, "The model does not exist.")
    scripted.will_answer(models(base), ok({}), completion(), forgot)
    with (
        pytest.raises(PlatformError, match=r"does not know .* any more"),
        external(scripted.url).serve(adapter, NAME) as model,
    ):
        answers(model)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (500, "EngineCore encountered an issue.", PlatformError),
        (503, "overloaded", PlatformError),
        (400, "LoRA is not enabled", ArtifactError),
        (403, "not yours", ConfigurationError),
    ],
)
def test_a_load_that_fails_is_blamed_on_whom_it_is_due(
    status: int, message: str, expected: type[Exception], scripted: ScriptedEngine
) -> None:
    scripted.will_answer(models("some/base"), error(status, message))
    refusal = refused(external(scripted.url), GOOD)
    assert isinstance(refusal, expected)
    assert message in str(refusal)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (ServeOptions(quantize=True), "cm_quantize"),
        (ServeOptions(trust_remote_code=True), "trust_remote_code"),
    ],
)
def test_what_is_the_servers_matter_cannot_be_asked_for(
    options: ServeOptions, name: str, scripted: ScriptedEngine
) -> None:
    refusal = refused(external(scripted.url), GOOD, options)
    assert isinstance(refusal, ConfigurationError)
    assert name in str(refusal)
    assert scripted.requests == []


def test_a_dead_server_fails_at_once() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    refusal = refused(external(url, retries=1000), GOOD)
    assert isinstance(refusal, PlatformError)
    assert url in str(refusal)


def test_something_else_at_the_address_is_the_operators_matter(scripted: ScriptedEngine) -> None:
    scripted.will_answer(ok({"welcome": "here"}))
    refusal = refused(external(scripted.url), GOOD)
    assert isinstance(refusal, ConfigurationError)
    assert "is not an OpenAI-compatible server" in str(refusal)


def test_a_request_that_failed_is_the_blocks_failure_even_if_nobody_says_so(
    scripted: ScriptedEngine,
) -> None:
    """Weave goes on when a row raised."""
    scripted.will_answer(models(), error(404), completion(), soon(503))
    with (
        pytest.raises(
            PlatformError, match=r"1 of the requests to .* failed; the first: .* overloaded"
        ),
        external(scripted.url).serve(GOOD, NAME) as model,
        pytest.raises(PlatformError),
    ):
        asyncio.run(answer(model, "Who?"))


def test_a_refused_version_is_called_by_its_name(scripted: ScriptedEngine, adapter: Path) -> None:
    (adapter / "pytorch_model.bin").touch()
    refusal = refused(external(scripted.url), adapter)
    assert isinstance(refusal, ArtifactError)
    assert str(adapter) not in str(refusal)
    assert NAME in str(refusal)


def test_without_an_address_there_is_no_external_engine() -> None:
    with pytest.raises(ConfigurationError, match="WEIGHBRIDGE_ENGINE_URL is not set"):
        ExternalEngine(Settings())
