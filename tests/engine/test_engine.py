"""Versions exchanged inside one real vLLM server."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from openai.types.chat import ChatCompletion

from application.rag.chat_model import confidence
from engine import Engine, ServedModel
from schemas.errors import ArtifactError, ConfigurationError, PlatformError
from schemas.settings import Settings

pytestmark = pytest.mark.engine

QUESTIONS = ["What is the capital of Germany?", "Name a planet."]


def record(settings: Settings) -> dict[str, object]:
    content: dict[str, object] = json.loads(
        (settings.run_dir / "engine" / "engine.json").read_text()
    )
    return content


def answers(model: ServedModel) -> list[str]:
    async def ask() -> list[str]:  # sequentially, because batches change the rounding
        return [
            str((await chat(model, question)).choices[0].message.content) for question in QUESTIONS
        ]

    return asyncio.run(ask())


async def chat(model: ServedModel, question: str) -> ChatCompletion:
    messages = [{"role": "user", "content": question}]
    return await model.chat(messages, temperature=0.0, max_tokens=8)


def test_versions_are_exchanged_in_one_server(
    engine: Engine, engine_settings: Settings, base_folder: Path, loud_adapters: list[Path]
) -> None:
    first, second = loud_adapters
    seen: dict[Path, list[str]] = {}
    servers = set()
    for folder in (first, second, base_folder, first, second, base_folder):
        with engine.serve(folder, folder.name) as model:
            now = answers(model)
        assert seen.setdefault(folder, now) == now
        servers.add(record(engine_settings)["guard_pid"])
    assert len(servers) == 1
    assert len({tuple(texts) for texts in seen.values()}) == 3
    assert "Berlin" in seen[base_folder][0]


def test_a_loaded_version_is_not_loaded_again(
    engine: Engine, engine_settings: Settings, loud_adapters: list[Path]
) -> None:
    with engine.serve(loud_adapters[1], "another"):
        pass
    with engine.serve(loud_adapters[0], "first"):
        pass
    log = engine_settings.run_dir / "engine" / "engine.log"
    before = log.read_text().count("Resetting prefix cache")
    assert before > 0
    with engine.serve(loud_adapters[0], "the same under another name"):
        pass
    assert log.read_text().count("Resetting prefix cache") == before


def test_an_answer_has_token_usage_and_log_probabilities(engine: Engine, base_folder: Path) -> None:
    with engine.serve(base_folder, "base") as model:
        completion = asyncio.run(chat(model, QUESTIONS[0]))
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 0
    assert completion.usage.total_tokens == (
        completion.usage.prompt_tokens + completion.usage.completion_tokens
    )
    assert 0 < (confidence(completion.choices[0]) or 0) <= 1


def test_a_version_is_served_with_its_own_chat_template(
    engine: Engine, loud_adapters: list[Path]
) -> None:
    template = loud_adapters[0] / "chat_template.jinja"
    with engine.serve(loud_adapters[0], "without") as model:
        usual = asyncio.run(chat(model, QUESTIONS[0]))
    template.write_text("{{ messages[0]['content'] }}")
    with engine.serve(loud_adapters[0], "with") as model:
        bare = asyncio.run(chat(model, QUESTIONS[0]))
    template.unlink()
    assert usual.usage is not None
    assert bare.usage is not None
    assert bare.usage.prompt_tokens < usual.usage.prompt_tokens


def test_a_model_can_be_used_in_several_event_loops(engine: Engine, base_folder: Path) -> None:
    with engine.serve(base_folder, "base") as model:
        assert answers(model) == answers(model)


def test_a_prompt_that_is_too_long_is_a_configuration_error(
    engine: Engine, base_folder: Path
) -> None:
    with pytest.raises(ConfigurationError) as caught, engine.serve(base_folder, "base") as model:
        asyncio.run(chat(model, "word " * 9000))
    assert "1 of the requests to base failed" in str(caught.value)
    assert "maximum context length" in str(caught.value)


def test_a_failed_request_fails_an_evaluation_that_continues(
    engine: Engine, base_folder: Path
) -> None:
    def evaluate_on() -> None:
        with engine.serve(base_folder, "base") as model:
            with pytest.raises(ConfigurationError):
                asyncio.run(chat(model, "word " * 9000))
            assert answers(model)

    with pytest.raises(ConfigurationError, match="1 of the requests to base failed"):
        evaluate_on()


def test_a_refused_version_does_not_change_the_engine(
    engine: Engine, engine_settings: Settings, base_folder: Path, tmp_path: Path
) -> None:
    with engine.serve(base_folder, "base"):
        before = record(engine_settings)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ArtifactError), engine.serve(tmp_path, "pickled"):
        pass
    assert record(engine_settings) == before


def test_another_process_uses_the_running_engine(
    engine: Engine, engine_settings: Settings, base_folder: Path
) -> None:
    engine.ensure(base_folder)
    program = (
        "import sys; from pathlib import Path; from engine import Engine;"
        "from schemas.settings import Settings;"
        "engine = Engine(Settings(run_dir=sys.argv[1]));"
        "engine.ensure(Path(sys.argv[2])); engine.stop()"
    )
    run_dir = str(engine_settings.run_dir)
    before = record(engine_settings)["guard_pid"]
    subprocess.run([sys.executable, "-c", program, run_dir, str(base_folder)], check=True)
    assert record(engine_settings)["guard_pid"] == before
    assert psutil.pid_exists(int(str(before)))  # stop() ends only an owner's engine


def test_an_engine_that_still_holds_the_previous_version_is_ended(
    engine: Engine, engine_settings: Settings, base_folder: Path, loud_adapters: list[Path]
) -> None:
    """As if the exchange had no effect: the fingerprint is that of different weights."""
    with engine.serve(loud_adapters[1], "second"):
        pass
    with engine.serve(loud_adapters[0], "first"):
        pass
    file = engine_settings.run_dir / "engine" / "engine.json"
    known = json.loads(file.read_text())
    others = dict.fromkeys(known["fingerprints"], "of other weights")
    file.write_text(json.dumps(known | {"fingerprints": others}))
    with (
        pytest.raises(PlatformError, match=r"still holds the version before"),
        engine.serve(loud_adapters[1], "second"),
    ):
        pass
    with engine.serve(base_folder, "base") as model:
        assert "Berlin" in answers(model)[0]
