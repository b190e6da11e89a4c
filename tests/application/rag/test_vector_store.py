"""The store finds passages, and keeps its version wherever it is loaded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import weave
from numpy.typing import NDArray
from weave.trace.weave_client import WeaveClient

from application.rag import VectorStore, embedding, vector_store
from application.stored import make, read
from rehearsal import climate

_NO_GPU = not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0


@pytest.fixture(scope="module")
def climate_store(embedding_model: str) -> VectorStore:
    """The rehearsal's passages."""
    passages = [passage.model_dump() for passage in climate.passages()]
    return VectorStore.build(passages, embedding_model)


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that a store has embedded so far."""
    texts_so_far: list[str] = []

    def recording_embed(texts: list[str], model: str) -> NDArray[np.float32]:
        texts_so_far.extend(texts)
        return embedding.embed(texts, model)

    monkeypatch.setattr("application.rag.vector_store.embed", recording_embed)
    return texts_so_far


def _scores(found: list[dict[str, Any]]) -> list[float]:
    return [passage["score"] for passage in found]


def test_the_nearest_passage_comes_first(
    passages: list[dict[str, str]], embedding_model: str
) -> None:
    store = VectorStore.build(passages, embedding_model)
    [found] = store.search(["Who measured carbon dioxide in the air?"], 2)
    assert found[0]["id"] == "keeling"
    assert found[0]["text"] == passages[0]["text"]
    assert 1 >= found[0]["score"] >= found[1]["score"]


def test_a_search_finds_at_most_all_passages(
    passages: list[dict[str, str]], embedding_model: str
) -> None:
    store = VectorStore.build(passages, embedding_model)
    [found] = store.search(["reef"], 10)
    assert len(found) == len(passages)


def test_a_batch_finds_the_same_passages_as_single_searches(climate_store: VectorStore) -> None:
    questions = [question.question for question in climate.questions()]
    for together, [alone] in zip(
        climate_store.search(questions, 3),
        (climate_store.search([question], 3) for question in questions),
        strict=True,
    ):
        assert [passage["id"] for passage in together] == [passage["id"] for passage in alone]
        assert _scores(together) == pytest.approx(_scores(alone), abs=1e-5)


def test_an_empty_search_finds_nothing(
    passages: list[dict[str, str]], embedding_model: str
) -> None:
    store = VectorStore.build(passages, embedding_model)
    assert store.search([], 2) == []
    with store.prepared([], 2):
        assert len(store.search(["reef"], 2)) == 1


def test_a_prepared_question_is_not_embedded_again(
    climate_store: VectorStore, embedded: list[str]
) -> None:
    questions = ["Who built a steam engine?", "Where do corals bleach?"]
    together = climate_store.search(questions, 2)
    embedded.clear()
    with climate_store.prepared([*questions, questions[0]], 2):  # a row may come twice
        assert climate_store.search(questions[1:], 2) == together[1:]
        assert climate_store.search(questions, 2) == together
    assert embedded == questions


@pytest.mark.parametrize(
    ("question", "n_documents"),
    [("Who measured carbon dioxide?", 2), ("Where do corals bleach?", 3)],
    ids=["another question", "another number of passages"],
)
def test_an_unprepared_question_is_searched_separately(
    climate_store: VectorStore, embedded: list[str], question: str, n_documents: int
) -> None:
    with climate_store.prepared(["Where do corals bleach?"], 2):
        embedded.clear()
        [found] = climate_store.search([question], n_documents)
    assert len(found) == n_documents
    assert embedded == [question]


def test_prepared_results_are_dropped_when_the_block_exits(
    climate_store: VectorStore, embedded: list[str]
) -> None:
    with climate_store.prepared(["reef"], 2):
        embedded.clear()
    climate_store.search(["reef"], 2)
    assert embedded == ["reef"]


def test_an_encoder_does_not_import_peft(embedding_model: str) -> None:
    program = (
        "import sys; from application.rag.embedding import embed;"
        f"embed(['reef'], {embedding_model!r});"
        "assert 'peft' not in sys.modules; import peft"  # still importable
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.gpu
@pytest.mark.skipif(_NO_GPU, reason="faiss sees no CUDA device here")
def test_an_index_finds_the_same_passages_on_gpu_and_cpu(
    climate_store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [question.question for question in climate.questions()]
    on_gpu = climate_store.search(questions, 3)
    assert isinstance(vector_store._opened[climate_store.index.digest], faiss.GpuIndex)
    monkeypatch.setattr(vector_store, "_opened", {})
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    for gpu, cpu in zip(on_gpu, climate_store.search(questions, 3), strict=True):
        assert [passage["id"] for passage in gpu] == [passage["id"] for passage in cpu]
        assert _scores(gpu) == pytest.approx(_scores(cpu), abs=1e-5)


def test_a_loaded_store_searches_without_embedding_its_passages(
    weave_project: WeaveClient,
    passages: list[dict[str, str]],
    embedding_model: str,
    embedded: list[str],
) -> None:
    ref = weave.publish(VectorStore.build(passages, embedding_model), "store")
    vector_store._opened.clear()
    embedded.clear()
    loaded = make(VectorStore, read(ref.uri()))
    [found] = loaded.search(["Where do corals bleach?"], 1)
    assert found[0]["id"] == "coral"
    assert embedded == ["Where do corals bleach?"]


def test_publishing_a_loaded_store_gives_the_same_version(
    weave_project: WeaveClient, passages: list[dict[str, str]], embedding_model: str
) -> None:
    first = weave.publish(VectorStore.build(passages, embedding_model), "store")
    second = weave.publish(make(VectorStore, read(first.uri())), "store")
    assert second.digest == first.digest


def test_a_store_names_its_embedding_model_and_not_a_folder_of_this_machine(
    weave_project: WeaveClient, passages: list[dict[str, str]], embedding_model: str
) -> None:
    ref = weave.publish(VectorStore.build(passages, embedding_model), "store")
    weave_project.flush()
    assert read(ref.uri()).fields["embedding_model"] == embedding_model


def test_a_core_that_another_process_uses_counts_as_busy() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as worker:
        try:
            assert any(embedding._busy_cores() > 0 for _ in range(200))
        finally:
            worker.kill()


def test_the_folder_of_local_models_takes_precedence_over_the_wheel(
    tmp_path: Path, embedding_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_MODELS_DIR", str(tmp_path))
    in_the_wheel = embedding._files(embedding_model)
    (tmp_path / embedding_model).mkdir(parents=True)
    assert in_the_wheel is not None
    assert in_the_wheel.is_dir()
    assert embedding._files(embedding_model) == tmp_path / embedding_model
    assert embedding._files("nobody/has-this") is None
