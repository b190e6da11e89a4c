"""A new model version in any stored application, as data: no class is known, no code runs."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import weave
from weave.trace.refs import ObjectRef
from weave.trace.weave_client import WeaveClient

from application.exchange import exchange, exchanged_value, resolved_application
from application.rag import RagModel
from application.rebuild import rebuild
from schemas.gates import ChatModelParameters
from schemas.refs import ArtifactRef
from tests.application import stored_applications, teams
from tests.application.stored_applications import (
    OLD,
    Indexed,
    Judge,
    at,
    changed,
    content,
    published,
    published_by_team,
    stored,
    versions,
)
from tests.applications import chat_only, judged, model_name, self_loading
from tests.engine.scripted_engine import completion, scripted_engine
from tests.weave_clients import connected


@pytest.fixture
def weave_project(project: str) -> Iterator[WeaveClient]:
    """A client like the worker's: code from the server raises instead of running."""
    with connected(project, stored_code=False) as client:
        yield client


@pytest.fixture
def publish(weave_project: WeaveClient) -> Callable[..., str]:
    return partial(published_by_team, weave_project)


@pytest.fixture
def panel(weave_project: WeaveClient) -> str:
    return published(stored_applications.panel())


@pytest.fixture
def rag_model() -> RagModel:
    return stored_applications.rag_model()


def test_a_text_in_a_field_is_replaced_and_nothing_else(
    publish: Callable[..., str], version: ArtifactRef
) -> None:
    bot = publish(model_name, "gpt-4.1-mini")
    new = exchange(bot, "model_name", version)
    assert changed(stored(bot), stored(new.ref.uri)) == {"model_name"}
    assert stored(new.ref.uri)["model_name"] == new.value == version.uri
    assert (new.ref.name, new.ref.digest in new.url) == ("SupportBot", True)


def test_a_path_follows_references_into_nested_objects(
    publish: Callable[..., str], version: ArtifactRef
) -> None:
    before = stored(app := publish(chat_only))
    after = stored(exchange(app, "pipeline.llm.model", version).ref.uri)
    assert changed(before, after) == {"pipeline"}
    pipelines = stored(before["pipeline"]), stored(after["pipeline"])
    assert changed(*pipelines) == {"llm"}
    chats = [stored(pipeline["llm"]) for pipeline in pipelines]
    assert changed(*chats) == {"model"}
    assert chats[1]["model"] == version.uri
    names = [ObjectRef.parse_uri(uri).name for uri in (after["pipeline"], pipelines[1]["llm"])]
    assert names == ["Pipeline", "Chat"]


@pytest.mark.parametrize("path", ["config.llm.name", "judges.1.model", "settings.model"])
def test_a_path_goes_through_dictionaries_lists_and_fields(
    panel: str, version: ArtifactRef, path: str
) -> None:
    new = exchange(panel, path, version)
    assert changed(stored(panel), stored(new.ref.uri)) == {path.split(".")[0]}
    assert exchanged_value(new.ref.uri, path) == at(new.ref.uri, path) == version.uri


def test_the_neighbours_in_a_list_and_a_dictionary_stay(panel: str, version: ArtifactRef) -> None:
    before = stored(panel)
    after = stored(exchange(panel, "judges.1.model", version).ref.uri)
    assert after["judges"][0] == before["judges"][0]
    after = stored(exchange(panel, "config.llm.name", version).ref.uri)
    assert after["config"]["chat"] == before["config"]["chat"]
    assert after["config"]["llm"]["limits"] == [1, 2]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("acme/models/Support:v1", "{version}"),
        ("acme/models/Support", "{version}"),
        ("acme/wandb-registry-Chat Models/Support:production", "{version}"),
        (OLD, "wandb-artifact:///{version}"),
        ("gpt-4.1-mini", "wandb-artifact:///{version}"),
        ("meta-llama/Llama-3.2-1B", "wandb-artifact:///{version}"),
        ("", "wandb-artifact:///{version}"),
    ],
)
def test_an_artifact_reference_keeps_its_notation(
    weave_project: WeaveClient, version: ArtifactRef, old: str, new: str
) -> None:
    exchanged = exchange(published(Judge(model=old)), "model", version)
    assert exchanged.value == stored(exchanged.ref.uri)["model"] == new.format(version=version)


def test_an_object_with_a_chat_model_takes_the_version_and_parameters(
    publish: Callable[..., str], version: ArtifactRef
) -> None:
    before = stored(app := publish(self_loading, "acme/models/Support:v1"))
    parameters = ChatModelParameters(cm_max_new_tokens=7, cm_quantize=False, dtype="bfloat16")
    new = exchange(app, "chat_model", version, parameters)
    after = stored(new.ref.uri)
    assert changed(before, after) == {"chat_model"}
    chats = stored(before["chat_model"]), stored(after["chat_model"])
    assert changed(*chats) == {"chat_model", "cm_max_new_tokens", "dtype"}
    assert chats[1]["chat_model"] == new.value == str(version)
    assert (chats[1]["cm_max_new_tokens"], chats[1]["dtype"]) == (7, "bfloat16")


def test_a_dictionary_may_have_the_chat_model(panel: str, version: ArtifactRef) -> None:
    new = exchange(panel, "config.chat", version, ChatModelParameters(cm_temperature=0))
    assert stored(new.ref.uri)["config"]["chat"] == {
        "chat_model": version.uri,
        "cm_temperature": 0.0,
    }


@pytest.mark.parametrize("parameters", [None, ChatModelParameters(cm_max_new_tokens=7)])
def test_our_own_application_becomes_the_version_that_rebuild_publishes(
    weave_project: WeaveClient,
    rag_model: RagModel,
    version: ArtifactRef,
    parameters: ChatModelParameters | None,
) -> None:
    app = published(rag_model)
    new = exchange(app, "chat_model", version, parameters)
    assert changed(stored(app), stored(new.ref.uri)) == {"chat_model"}
    rebuilt = rebuild(app, version.uri, parameters)
    assert (new.ref, new.url) == (rebuilt.ref, rebuilt.url)


def test_a_version_that_was_changed_by_hand_gets_its_class_back(
    weave_project: WeaveClient, rag_model: RagModel, version: ArtifactRef
) -> None:
    """The tutorial's way to replace a chat model stores a damaged version in weave 0.54."""
    app, other = published(rag_model), rag_model.chat_model.model_copy(update={"ref": None})
    by_hand = weave.ref(app).get()
    by_hand.chat_model = other
    damaged = published(by_hand, "RagModel")
    assert stored(damaged)["_class_name"] != "RagModel"
    assert exchange(damaged, "chat_model", ArtifactRef.parse(OLD)).ref.uri == damaged

    new = stored(exchange(damaged, "chat_model", version).ref.uri)
    assert changed(stored(app), new) == {"chat_model"}
    # Weave stored it in place, and there it stays.
    assert new["chat_model"] == stored(stored(app)["chat_model"]) | {"chat_model": version.uri}


def test_references_to_parts_of_another_version_become_their_values(
    weave_project: WeaveClient, rag_model: RagModel, version: ArtifactRef
) -> None:
    app = published(rag_model)
    parts = {name: f"{app}/attr/{name}" for name in ("n_documents", "vector_store", "chat_model")}
    copied = published(stored(app) | parts, "RagModel")
    assert exchanged_value(copied, "chat_model") == OLD
    assert exchange(copied, "chat_model", ArtifactRef.parse(OLD)).ref.uri == copied
    assert exchange(copied, "chat_model", version) == exchange(app, "chat_model", version)


def test_a_part_of_another_version_is_exchanged_where_it_is_referred_to(
    publish: Callable[..., str], version: ArtifactRef
) -> None:
    before = publish(chat_only)
    copied = published(stored(before) | {"pipeline": f"{before}/attr/pipeline"}, "Copied")
    new = exchange(copied, "pipeline.llm.model", version)
    direct = exchange(before, "pipeline.llm.model", version)
    assert stored(new.ref.uri) == stored(direct.ref.uri)


def test_the_same_exchange_gives_the_same_version(
    weave_project: WeaveClient, publish: Callable[..., str], version: ArtifactRef
) -> None:
    app = publish(chat_only)
    first = exchange(app, "pipeline.llm.model", version)
    published_by_then = versions(weave_project)
    assert exchange(app, "pipeline.llm.model", version) == first
    assert exchange(first.ref.uri, "pipeline.llm.model", version) == first
    latest = app.rpartition(":")[0] + ":latest"
    assert exchange(latest, "pipeline.llm.model", version) == first
    assert versions(weave_project) == published_by_then


@pytest.mark.parametrize(
    "model", ["wandb32/wandb-registry-RAG Chat Models/Finetuned SmolLM2:v3", OLD]
)
def test_exchanging_a_value_for_itself_changes_and_publishes_nothing(
    weave_project: WeaveClient, publish: Callable[..., str], model: str
) -> None:
    app, version = publish(self_loading, model), ArtifactRef.parse(model)
    before = versions(weave_project)
    parameters = ChatModelParameters(cm_temperature=0, cm_quantize=False, device="cpu")
    assert exchange(app, "chat_model", version, parameters).ref.uri == app
    assert exchange(app, "chat_model.chat_model", version).ref.uri == app
    assert versions(weave_project) == before


def test_a_nested_object_of_another_project_is_published_in_that_of_the_application(
    project: str, version: ArtifactRef
) -> None:
    with connected(f"{project}-shared") as client:
        shared = published(Indexed(model=OLD, index=content(), judge=Judge(model="judge-a")))
        before = versions(client)
    with connected(project) as client:
        app = published({"retriever": shared}, "Wrapped")
        new = exchange(app, "retriever.model", version)
        nested = stored(new.ref.uri)["retriever"]
        assert nested.startswith(f"weave:///{project}/object/Indexed:")
        assert changed(stored(shared), stored(nested)) == {"model"}
        assert at(nested, "index").data == b"index"  # its file has come along
        assert at(nested, "judge.model") == "judge-a"
        assert exchange(app, "retriever.model", ArtifactRef.parse(OLD)).ref.uri == app
    with connected(f"{project}-shared") as client:
        assert versions(client) == before


def test_plain_weave_runs_the_result(
    project: str,
    weave_project: WeaveClient,
    version: ArtifactRef,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bot, _evaluation = teams.publish({"model_name": [project, OLD]})["model_name"]
    new = exchange(bot, "model_name", version)
    with connected(project), scripted_engine() as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        endpoint.will_answer(completion("Visa"))
        answer = weave.ref(new.ref.uri).get().predict(prompt="Which card do we take?")
        assert (answer["response"], answer["sources"]) == ("Visa", ["card"])
        [request] = endpoint.requests
        assert request.body["model"] == new.value


def test_the_model_of_an_application_is_read_without_changing_it(
    weave_project: WeaveClient, publish: Callable[..., str]
) -> None:
    before = publish(self_loading, "acme/models/Support:v1"), publish(judged, "gpt-4.1-mini")
    published_by_then = versions(weave_project)
    assert exchanged_value(before[0], "chat_model") == "acme/models/Support:v1"
    assert exchanged_value(before[1], "model_name") == "gpt-4.1-mini"
    assert versions(weave_project) == published_by_then


def test_an_alias_is_resolved_to_the_digest_of_any_class(
    weave_project: WeaveClient, publish: Callable[..., str]
) -> None:
    app = publish(judged)
    weave_project.set_aliases(ObjectRef.parse_uri(app), "production")
    name = app.rpartition(":")[0]
    for alias in ("latest", "v0", "production"):
        assert resolved_application(f"{name}:{alias}") == app
