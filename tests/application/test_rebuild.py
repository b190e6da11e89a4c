"""A RagModel around another chat model, and a published Evaluation, without running stored code."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import weave
from weave.trace.op_protocol import Op
from weave.trace.refs import ObjectRef
from weave.trace.settings import replace_settings
from weave.trace.weave_client import WeaveClient
from weave.trace_server_bindings.client_interface import TraceServerClientInterface

from application.rag import LLMJudge, RagModel
from application.rebuild import load_chat_model, load_evaluation, rebuild
from application.stored import Stored, read
from rehearsal import app_team
from schemas.errors import ConfigurationError
from schemas.gates import ChatModelParameters
from tests.engine.scripted_engine import completion, scripted_engine
from tests.weave_clients import connected

NEW = "wandb-artifact:///wandb32/wandb-registry-RAG Chat Models/Finetuned SmolLM2:v3"
ROWS = [{"question": "When?", "answer": "1856", "accepted": [], "passages": []}]


@pytest.fixture
def weave_project(project: str) -> Iterator[WeaveClient]:
    """A client like the worker's: code from the server raises instead of running."""
    with connected(project, stored_code=False) as client:
        yield client


def allow_stored_code() -> None:
    replace_settings({"allow_unsafe_custom_obj_decode": True})


def another_process(client: WeaveClient) -> TraceServerClientInterface:
    """Return the server as another process uses it, without this process's cache."""
    server: TraceServerClientInterface = client.server._next_trace_server  # type: ignore[attr-defined]
    return server


@pytest.fixture(scope="module")
def never_published() -> RagModel:
    return app_team.rag_model()


@pytest.fixture
def application(never_published: RagModel) -> RagModel:
    """The app team's application, which embeds its passages once for all tests."""
    return never_published.model_copy(deep=True)


@pytest.fixture
def rag_model(weave_project: WeaveClient, application: RagModel) -> str:
    """The same application, published."""
    uri: str = weave.publish(application, "RagModel").uri()
    weave_project.flush()
    return uri


@pytest.fixture
def evaluation(weave_project: WeaveClient) -> str:
    """The app team's published evaluation."""
    uri: str = weave.publish(app_team.evaluation(), "climate_rag_eval").uri()
    weave_project.flush()
    return uri


def fields(uri: str) -> dict[str, object]:
    return read(uri).fields


def chat_model(uri: str) -> Stored:
    return read(read(uri).fields["chat_model"].uri)


def test_only_the_chat_model_is_replaced(rag_model: str) -> None:
    rebuilt = rebuild(rag_model, NEW)
    before, after = fields(rag_model), fields(rebuilt.ref.uri)
    assert {name for name in before if before[name] != after[name]} == {"chat_model"}
    assert before.keys() == after.keys()
    assert chat_model(rebuilt.ref.uri).fields["chat_model"] == NEW


def test_rebuilding_twice_gives_the_same_version(rag_model: str) -> None:
    assert rebuild(rag_model, NEW).ref == rebuild(rag_model, NEW).ref


def test_rebuilding_a_rebuilt_model_gives_the_same_version(rag_model: str) -> None:
    rebuilt = rebuild(rag_model, NEW)
    assert rebuild(rebuilt.ref.uri, NEW).ref == rebuilt.ref


def test_a_gate_sets_parameters_of_the_chat_model(rag_model: str) -> None:
    rebuilt = rebuild(rag_model, NEW, ChatModelParameters(cm_max_new_tokens=7))
    before, after = chat_model(rag_model).fields, chat_model(rebuilt.ref.uri).fields
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"chat_model", "cm_max_new_tokens"}
    assert after["cm_max_new_tokens"] == 7


def test_an_alias_is_resolved_to_the_version_it_names_now(rag_model: str) -> None:
    latest = rag_model.rpartition(":")[0] + ":latest"
    assert rebuild(latest, NEW).ref == rebuild(rag_model, NEW).ref


def test_an_alias_that_another_process_moved_names_its_new_version(
    weave_project: WeaveClient, rag_model: str
) -> None:
    """Weave caches an alias on disk, for every process of the machine."""
    first = ObjectRef.parse_uri(rag_model)
    weave_project.set_aliases(first, "production")
    production = f"{rag_model.rpartition(':')[0]}:production"
    assert read(production).ref.digest == first.digest
    second = rebuild(rag_model, NEW).ref
    another_process(weave_project).obj_set_aliases(
        {
            "project_id": weave_project.project_id,
            "object_id": first.name,
            "digest": second.digest,
            "aliases": ["production"],
        }
    )
    assert read(production).ref.digest == second.digest


def test_an_object_that_another_process_deleted_is_published_again(
    weave_project: WeaveClient, rag_model: str
) -> None:
    """Weave's cache would still report it as stored."""
    rebuilt = rebuild(rag_model, NEW).ref
    weave_project.flush()
    for name, digest in (
        (rebuilt.name, rebuilt.digest),
        ("ChatModel", chat_model(rebuilt.uri).ref.digest),
    ):
        another_process(weave_project).obj_delete(
            {"project_id": weave_project.project_id, "object_id": name, "digests": [digest]}
        )
    with pytest.raises(ConfigurationError, match="does not exist"):
        read(rebuilt.uri)
    assert rebuild(rag_model, NEW).ref == rebuilt
    assert chat_model(rebuilt.uri).fields["chat_model"] == NEW


def test_a_version_that_was_changed_by_hand_is_rebuilt_whole(
    rag_model: str, never_published: RagModel
) -> None:
    """The tutorial's way to replace a chat model stores a damaged version in weave 0.54."""
    allow_stored_code()
    by_hand = weave.ref(rag_model).get()
    by_hand.chat_model = never_published.chat_model.model_copy()
    assert by_hand.n_documents == never_published.n_documents  # a field that was read
    damaged = weave.publish(by_hand, "RagModel")
    assert rebuild(damaged.uri(), NEW).ref == rebuild(rag_model, NEW).ref


def test_the_rebuilt_model_retrieves(rag_model: str) -> None:
    model = rebuild(rag_model, NEW).model
    found = model.retrieve("Who laid cylinders of gas in the sun?")
    assert found[0]["id"] == "eunice-foote"


def test_a_missing_rag_model_is_named_and_nothing_is_published(weave_project: WeaveClient) -> None:
    missing = f"weave:///{weave_project.entity}/{weave_project.project}/object/RagModel:latest"
    with pytest.raises(ConfigurationError, match=r"object/RagModel:latest does not exist"):
        rebuild(missing, NEW)
    with pytest.raises(ConfigurationError, match="does not exist"):
        read(missing)


def test_an_object_that_is_not_a_rag_model_is_named(evaluation: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"climate_rag_eval:.* is of class Evaluation, not RagModel"
    ):
        rebuild(evaluation, NEW)


def test_a_rag_model_of_another_class_is_named(
    weave_project: WeaveClient, application: RagModel
) -> None:
    class Other(weave.Model):
        chat_model: weave.Model
        temperature: float

    Other.__name__ = "RagModel"
    instance = Other(chat_model=application.chat_model, temperature=1.0)
    other = weave.publish(instance, "RagModel")
    with pytest.raises(ConfigurationError, match="does not fit RagModel: vector_store: Field req"):
        rebuild(other.uri(), NEW)


def test_the_chat_models_parameters_are_known_before_anything_is_published(
    weave_project: WeaveClient, rag_model: str
) -> None:
    before = weave.ref(rag_model).get()
    loaded = load_chat_model(rag_model, NEW, ChatModelParameters(cm_quantize=True))
    assert loaded.cm_quantize
    assert loaded.chat_model == NEW
    assert weave.ref("RagModel:latest").get().ref == before.ref


def test_the_published_evaluation_runs_under_its_own_version(
    weave_project: WeaveClient, evaluation: str
) -> None:
    loaded = load_evaluation(evaluation)

    @weave.op
    def says_1856(question: str) -> dict[str, object]:
        return {"answer": "1856", "context": []}

    summary, call = asyncio.run(loaded.evaluate.call(loaded, says_1856))
    weave_project.flush()
    assert summary["exact_match"]["true_count"] == 1
    stored = weave_project.get_call(call.id)
    assert stored.inputs["self"].ref.uri == evaluation
    scored = {
        call.op_name
        for call in weave_project.get_calls(filter={"trace_ids": [call.trace_id]})
        if call.func_name == "exact_match"
    }
    assert scored == {ref.uri for ref in read(evaluation).fields["scorers"][1:2]}


def test_a_scorer_with_another_source_is_named(weave_project: WeaveClient) -> None:
    @weave.op
    def exact_match(answer: str, output: dict[str, str]) -> bool:
        return True

    published = publish_evaluation(weave_project, exact_match)
    with pytest.raises(ConfigurationError, match=r"The scorer exact_match of .* is code that"):
        load_evaluation(published)


def test_an_unknown_scorer_is_named(weave_project: WeaveClient) -> None:
    @weave.op
    def politeness(output: dict[str, str]) -> float:
        return 1.0

    published = publish_evaluation(weave_project, politeness)
    with pytest.raises(ConfigurationError, match=r"The scorer politeness of .* is code that"):
        load_evaluation(published)


def test_a_gate_may_allow_stored_scorers(weave_project: WeaveClient) -> None:
    @weave.op
    def politeness(output: dict[str, str]) -> float:
        return 1.0

    published = publish_evaluation(weave_project, politeness)
    allow_stored_code()
    loaded = load_evaluation(published, allow_stored_code=True)
    assert loaded.scorers is not None
    assert [scorer.name for scorer in loaded.scorers] == ["politeness"]


def judge(**fields: Any) -> LLMJudge:
    given = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "instructions": "{output}?"}
    return LLMJudge(name="judge", parameters={"seed": 7}, **(given | fields))


def test_a_stored_judge_is_made_from_its_fields_under_its_version(
    weave_project: WeaveClient,
) -> None:
    published = publish_evaluation(weave_project, judge(scale="0..1", retries=5))
    loaded = load_evaluation(published)
    assert loaded.scorers is not None
    [loaded_judge] = loaded.scorers
    [stored] = read(published).fields["scorers"]
    assert isinstance(loaded_judge, LLMJudge)
    assert loaded_judge.model_dump(exclude={"ref"}) == judge(scale="0..1", retries=5).model_dump(
        exclude={"ref"}
    )
    assert loaded_judge.ref == stored


def test_evaluating_with_a_judge_publishes_no_new_version(weave_project: WeaveClient) -> None:
    @weave.op
    def says_1856(question: str) -> dict[str, object]:
        return {"answer": "1856", "context": []}

    with scripted_engine() as endpoint:
        endpoint.will_answer(completion('{"reason": "As I say.", "score": true}'))
        published = publish_evaluation(weave_project, judge(base_url=endpoint.url))
        before = versions(weave_project)
        loaded = load_evaluation(published)
        summary, call = asyncio.run(loaded.evaluate.call(loaded, says_1856))
    weave_project.flush()
    assert summary["judge"]["score"]["true_count"] == 1
    assert weave_project.get_call(call.id).inputs["self"].ref.uri == published
    assert len(before) == 3
    assert versions(weave_project) == before


def versions(client: WeaveClient) -> list[tuple[str, str]]:
    found = client.server.objs_query(
        {
            "project_id": client.project_id,
            "filter": {"object_ids": ["evaluation", "judge", "rows"]},
        }
    )
    return [(one.object_id, one.digest) for one in found.objs]


def test_a_judge_of_another_class_is_refused(weave_project: WeaveClient) -> None:
    class Politeness(LLMJudge):
        """A subclass, whose score could be anything."""

    published = publish_evaluation(
        weave_project,
        Politeness(name="judge", base_url="http://127.0.0.1:9/v1", model="m", instructions="?"),
    )
    with pytest.raises(ConfigurationError, match=r"The scorer judge of .* is code that"):
        load_evaluation(published)


def test_a_stored_judge_cannot_name_another_secret(weave_project: WeaveClient) -> None:
    greedy = LLMJudge.model_construct(**(vars(judge()) | {"api_key_variable": "WANDB_API_KEY"}))
    published = publish_evaluation(weave_project, greedy)
    with pytest.raises(ConfigurationError, match="does not fit LLMJudge: api_key_variable"):
        load_evaluation(published)


def test_a_judge_is_made_from_its_fields_where_stored_code_is_allowed(
    weave_project: WeaveClient,
) -> None:
    published = publish_evaluation(weave_project, judge(max_tokens=99))
    allow_stored_code()
    loaded = load_evaluation(published, allow_stored_code=True)
    assert loaded.scorers is not None
    [loaded_judge] = loaded.scorers
    assert isinstance(loaded_judge, LLMJudge)
    assert loaded_judge.max_tokens == 99
    assert loaded_judge.ref == read(published).fields["scorers"][0]


def test_a_missing_evaluation_is_named(weave_project: WeaveClient) -> None:
    missing = f"weave:///{weave_project.entity}/{weave_project.project}/object/eval:v3"
    with pytest.raises(ConfigurationError, match=r"object/eval:v3 does not exist"):
        load_evaluation(missing)


def test_an_object_that_is_not_an_evaluation_is_named(rag_model: str) -> None:
    with pytest.raises(ConfigurationError, match="is of class RagModel, not Evaluation"):
        load_evaluation(rag_model)


def publish_evaluation(client: WeaveClient, scorer: Op[Any, Any] | LLMJudge) -> str:
    evaluation = weave.Evaluation(dataset=weave.Dataset(name="rows", rows=ROWS), scorers=[scorer])
    uri: str = weave.publish(evaluation, "evaluation").uri()
    client.flush()
    return uri
