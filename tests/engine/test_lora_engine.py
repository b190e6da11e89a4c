"""One vLLM server with LoRA slots, from a start that fails to its death.

The first test and the last one start and end it, so that the file costs one vLLM server and one
transformers server; in another order it costs more, and passes as well.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine import Engine, ServedModel, ServeOptions
from engine.server import EngineServer
from schemas.errors import PlatformError
from schemas.settings import Settings

pytestmark = pytest.mark.engine

QUESTION = "What is the capital of Germany?"
CONCURRENT = ServeOptions(concurrent=True)


@pytest.fixture(scope="module")
def settings(engine_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    run_dir = tmp_path_factory.mktemp("run")
    changes = {"run_dir": run_dir, "side_by_side": 2, "max_lora_rank": 8}
    return engine_settings.model_copy(update=changes)


@pytest.fixture(scope="module")
def lora_engine(settings: Settings) -> Iterator[Engine]:
    engine = Engine(settings)
    yield engine
    engine.stop()


def answer(model: ServedModel, *, max_tokens: int = 8) -> str:
    messages = [{"role": "user", "content": QUESTION}]
    completion = asyncio.run(model.chat(messages, temperature=0.0, max_tokens=max_tokens))
    return str(completion.choices[0].message.content)


def served_names(settings: Settings) -> set[str]:
    server = EngineServer.find(settings.run_dir / "engine")
    assert server is not None
    return {model["id"] for model in server.request("GET", "/v1/models")["data"]}


@pytest.mark.long
def test_a_start_without_enough_memory_says_so_and_the_next_one_works(
    lora_engine: Engine, settings: Settings, base_folder: Path
) -> None:
    greedy = Engine(settings.model_copy(update={"kv_cache_gib": 4000}))
    with (
        pytest.raises(PlatformError, match=r"ended while it started: .*(?i:memory).*4000"),
        greedy.serve(base_folder, "base"),
    ):
        pass
    with lora_engine.serve(base_folder, "base") as model:
        assert "Berlin" in answer(model)


def test_two_adapters_are_served_side_by_side(
    lora_engine: Engine, settings: Settings, loud_adapters: list[Path]
) -> None:
    first, second = loud_adapters
    with (
        lora_engine.serve(first, "first", options=CONCURRENT) as one,
        lora_engine.serve(second, "second", options=CONCURRENT) as two,
    ):
        together = answer(one), answer(two)
        assert len(served_names(settings)) == 3  # the base, and both
    assert together[0] != together[1]
    for folder, said in zip(loud_adapters, together, strict=True):
        with lora_engine.serve(folder, "alone", options=CONCURRENT) as model:
            assert answer(model) == said


def test_a_process_does_not_wait_for_itself(
    lora_engine: Engine, base_folder: Path, loud_adapters: list[Path]
) -> None:
    """As it would where the engine stops answering before the second adapter is loaded."""
    with (
        lora_engine.serve(loud_adapters[0], "first", options=CONCURRENT),
        pytest.raises(PlatformError, match="This process still uses the engine"),
        lora_engine.serve(base_folder, "base"),
    ):
        pass


def test_an_adapter_is_unloaded_at_the_end_of_the_block(
    lora_engine: Engine, settings: Settings, loud_adapters: list[Path]
) -> None:
    with lora_engine.serve(loud_adapters[0], "first", options=CONCURRENT):
        during = served_names(settings)
    assert served_names(settings) < during


def test_a_merged_adapter_and_lora_give_the_same_first_token(
    lora_engine: Engine, base_folder: Path, loud_adapters: list[Path]
) -> None:
    """Later ones may differ: in bf16 the sum of two products is not the product of the sum."""
    with lora_engine.serve(loud_adapters[0], "beside", options=CONCURRENT) as model:
        beside = answer(model, max_tokens=1)
    with lora_engine.serve(loud_adapters[0], "merged") as model:
        merged = answer(model, max_tokens=1)
    with lora_engine.serve(loud_adapters[0], "beside again", options=CONCURRENT) as model:
        again = answer(model, max_tokens=1)
    with lora_engine.serve(base_folder, "base") as model:
        assert answer(model, max_tokens=1) != beside
    assert beside == merged == again


def test_an_adapter_above_the_rank_limit_is_served(lora_engine: Engine, wide_adapter: Path) -> None:
    with lora_engine.serve(wide_adapter, "rank 16", options=CONCURRENT) as model:
        assert answer(model)


def test_the_base_is_unchanged_after_an_adapter(
    lora_engine: Engine, base_folder: Path, loud_adapters: list[Path]
) -> None:
    with lora_engine.serve(loud_adapters[0], "first", options=CONCURRENT):
        pass
    with lora_engine.serve(base_folder, "base", options=CONCURRENT) as model:
        assert "Berlin" in answer(model)


def test_an_engine_that_dies_is_an_error_and_the_next_version_has_a_new_engine(
    lora_engine: Engine, settings: Settings, base_folder: Path, dora_adapter: Path
) -> None:
    """The next version is one that vLLM cannot serve, so its engine is the transformers server."""

    def evaluate_while_it_dies() -> None:
        with lora_engine.serve(base_folder, "base") as model:
            kill_engine(settings)
            with pytest.raises(PlatformError, match="The engine stopped answering for base"):
                answer(model)

    with pytest.raises(PlatformError, match="The engine died while it served base"):
        evaluate_while_it_dies()
    with lora_engine.serve(dora_adapter, "dora") as model:
        first = answer(model)
        assert model.max_concurrency == 1
    with lora_engine.serve(dora_adapter, "the same") as model:
        assert answer(model) == first


def kill_engine(settings: Settings) -> None:
    server = EngineServer.find(settings.run_dir / "engine")
    assert server is not None
    guard = psutil.Process(server.record.guard_pid)
    for process in guard.children():
        process.kill()
    guard.wait()
