"""The store finds passages, and is the same object wherever it is loaded."""

from pathlib import Path

import numpy as np
import pytest
import weave
from numpy.typing import NDArray
from weave.trace.weave_client import WeaveClient

from worker.rag import VectorStore, embedding, vector_store
from worker.rag.stored import make, read

# Weave leaves a temporary folder to the garbage collector when it reads an object's file.


def test_the_nearest_passage_comes_first(
    passages: list[dict[str, str]], embedding_model: str
) -> None:
    store = VectorStore.build(passages, embedding_model)
    found = store.search("Who measured carbon dioxide in the air?", 2)
    assert found[0]["id"] == "keeling"
    assert found[0]["text"] == passages[0]["text"]
    assert 1 >= found[0]["score"] >= found[1]["score"]


def test_no_more_passages_are_found_than_there_are(
    passages: list[dict[str, str]], embedding_model: str
) -> None:
    store = VectorStore.build(passages, embedding_model)
    assert len(store.search("reef", 10)) == len(passages)


def test_a_loaded_store_searches_without_embedding_its_passages(
    weave_project: WeaveClient,
    passages: list[dict[str, str]],
    embedding_model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ref = weave.publish(VectorStore.build(passages, embedding_model), "store")
    vector_store._opened.clear()
    embedded: list[str] = []

    def recording_embed(texts: list[str], model: str) -> NDArray[np.float32]:
        embedded.extend(texts)
        return embedding.embed(texts, model)

    monkeypatch.setattr("worker.rag.vector_store.embed", recording_embed)
    loaded = make(VectorStore, read(ref.uri()))
    assert loaded.search("Where do corals bleach?", 1)[0]["id"] == "coral"
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
    assert read(ref.uri()).fields["embedding_model"] == embedding_model


def test_the_folder_of_local_models_comes_before_the_wheel(
    tmp_path: Path, embedding_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_MODELS_DIR", str(tmp_path))
    in_the_wheel = embedding._files(embedding_model)
    (tmp_path / embedding_model).mkdir(parents=True)
    assert in_the_wheel is not None
    assert in_the_wheel.is_dir()
    assert embedding._files(embedding_model) == tmp_path / embedding_model
    assert embedding._files("nobody/has-this") is None
