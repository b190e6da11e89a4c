"""Instances of a team's own classes, from what another process of the team has published."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import weave
from weave.trace.ref_util import get_ref
from weave.trace.refs import ObjectRef
from weave.trace.weave_client import WeaveClient

from application.instances import Instances
from application.modules import import_modules
from schemas.errors import ConfigurationError
from tests.application.teams import FOLDER, publish
from tests.weave_clients import connected

_PUBLISHED = """
import weave
from pydantic import PrivateAttr


class Shifting(weave.Model):
    factor: int
    old: str = "old"
    _calls: list = PrivateAttr(default_factory=list)

    def doubled(self):
        return 2 * self.factor

    @weave.op()
    def predict(self, given: int) -> int:
        return self.doubled() + given

    @weave.op()
    def unchanged(self) -> int:
        return 1


class Widened(weave.Model):
    factor: int

    @weave.op()
    def predict(self, given: int) -> int:
        return self.factor


class Gone(weave.Scorer):
    weight: float

    @weave.op()
    def score(self, *, output: int) -> dict:
        return {"weighted": self.weight * output}

    @weave.op()
    def summarize(self, score_rows: list) -> dict:
        return {"most": max(row["weighted"] for row in score_rows)}


@weave.op()
def even(output: int) -> bool:
    return output % 2 == 0


def publish(project):
    weave.init(project)
    dataset = weave.Dataset(name="numbers", rows=[{"given": 1}, {"given": 2}])
    made = {
        "model": Shifting(factor=3),
        "widened": Widened(factor=3),
        "with_class": weave.Evaluation(name="a", dataset=dataset, scorers=[Gone(weight=2)]),
        "with_op": weave.Evaluation(name="b", dataset=dataset, scorers=[even]),
    }
    return {name: weave.publish(one, name).uri for name, one in made.items()}
"""
_INSTALLED = (
    _PUBLISHED.replace("self.doubled() + given", "self.doubled() - given")
    .replace("output % 2 == 0", "output % 2 == 1")
    .replace("class Gone", "class Renamed")
    .replace(
        "class Widened(weave.Model):\n    factor: int", "class Widened(weave.Model):\n    more: int"
    )
)

Published = dict[str, str]


@pytest.fixture(scope="module")
def published(
    team_project: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Published]]:
    """What was published; of ``shifting``, another version than the one that is installed."""
    before, installed = (tmp_path_factory.mktemp(name) for name in ("before", "installed"))
    (before / "shifting.py").write_text(_PUBLISHED)
    (installed / "shifting.py").write_text(_INSTALLED)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(installed))
        yield publish({"odd_shapes": [team_project], "shifting": [team_project]}, before)
    sys.modules.pop("shifting", None)


@pytest.fixture
def shapes(published: dict[str, Published]) -> Published:
    return published["odd_shapes"]


@pytest.fixture
def shifting(published: dict[str, Published]) -> Published:
    return published["shifting"]


@pytest.fixture
def client(team_project: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeaveClient]:
    monkeypatch.syspath_prepend(str(FOLDER))
    with connected(team_project, stored_code=False) as client:
        yield client


@pytest.fixture
def client_with_code(team_project: str) -> Iterator[WeaveClient]:
    with connected(team_project, stored_code=True) as client:
        yield client


def instances(*modules: str, allow_stored_code: bool = False) -> Instances:
    return Instances(import_modules(modules), allow_stored_code=allow_stored_code)


def versions(client: WeaveClient) -> list[tuple[str, str]]:
    found = client.server.objs_query({"project_id": client.project_id, "filter": {}})
    return sorted((one.object_id, one.digest) for one in found.objs)


def input_uri(call: Any, name: str) -> str:
    """Return the reference of a call's input, without reading what it points to."""
    ref = dict.__getitem__(call.inputs, name)
    return str(ref.uri)


def new_versions(client: WeaveClient, before: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """What is published since; Weave's own ops are not counted."""
    new = set(versions(client)) - set(before)
    return {(name, digest) for name, digest in new if not name.startswith("Evaluation")}


def run(client: WeaveClient, evaluation: weave.Evaluation, model: Any) -> tuple[Any, Any]:
    summary, call = asyncio.run(evaluation.evaluate.call(evaluation, model, __should_raise=True))
    client.flush()
    return summary, client.get_call(call.id)


def test_nested_objects_are_of_the_teams_classes(client: WeaveClient, shapes: Published) -> None:
    model = instances("odd_shapes").model(shapes["nested"])
    module = sys.modules["odd_shapes"]
    assert type(model) is module.Nested
    assert [type(word) for word in model.words] == [module.Word] * 2
    assert model.by_name["c"].said() == "C"
    assert type(model.style) is module.Style
    assert model.style.words[0].said() == "D"
    assert model.limits == module.Limits(most=3)
    assert model.prompt.format(text="x") == "Say x"
    assert model.messages.format(text="x") == [{"role": "user", "content": "x?"}]
    assert model.settings == {"deep": [{"model": "m", "share": 0.5}]}
    assert model.reference == "weave:///a/b/object/c:d"
    assert model.transform("abcdef") == "abc"
    assert type(model.client) is module.Client  # its default, as Weave has only its text


def test_an_object_that_two_fields_share_is_one_instance(
    client: WeaveClient, shapes: Published
) -> None:
    model = instances("odd_shapes").model(shapes["nested"])
    assert model.either is model.words[1]


def test_private_attributes_and_inherited_methods_work(
    client: WeaveClient, shapes: Published
) -> None:
    model = instances("odd_shapes").model(shapes["inherited"])
    assert model.forward("a") == "a! ready"


@pytest.mark.parametrize(("name", "answer"), [("own_init", "Xa"), ("strict", "ay")])
def test_a_class_may_have_an_init_of_its_own(
    client: WeaveClient, shapes: Published, name: str, answer: str
) -> None:
    model = instances("odd_shapes").model(shapes[name])
    said = model.predict("a") if name == "strict" else model.infer("a")
    assert (asyncio.run(said) if name == "strict" else said) == answer


def test_calls_name_the_published_versions_and_nothing_is_published(
    client: WeaveClient, shapes: Published
) -> None:
    made = instances("odd_shapes")
    model, evaluation = made.model(shapes["nested"]), made.evaluation(shapes["evaluation"])
    before = versions(client)
    summary, root = run(client, evaluation, model)
    assert input_uri(root, "self") == shapes["evaluation"]
    assert input_uri(root, "model") == shapes["nested"]
    assert summary["Weighted"] == {"weighted": 4.0}
    assert summary["length-of-it"]["mean"] > 0
    called = {call.op_name for call in client.get_calls(filter={"trace_ids": [root.trace_id]})}
    assert {uri.rpartition("/")[2].partition(":")[0] for uri in called} >= {
        "Nested.invoke",
        "Weighted.score",
        "Weighted.summarize",
        "as_text",
    }
    assert not new_versions(client, before)


def test_a_model_may_be_an_op(client: WeaveClient, shapes: Published) -> None:
    made = instances("odd_shapes")
    model = made.model(shapes["shout"])
    assert model is sys.modules["odd_shapes"].shout
    _, root = run(client, made.evaluation(shapes["evaluation"]), model)
    assert input_uri(root, "model") == shapes["shout"]


def test_a_preprocessing_function_that_is_no_op_is_explained(
    client: WeaveClient, shapes: Published
) -> None:
    with pytest.raises(ConfigurationError, match=r"Decorate it with @weave\.op and publish"):
        instances("odd_shapes").evaluation(shapes["as_a_function"])


def test_a_class_of_no_imported_module_is_named(client: WeaveClient, shapes: Published) -> None:
    with pytest.raises(ConfigurationError) as caught:
        instances("chat_only").model(shapes["nested"])
    assert "is of class Nested, which none of chat_only defines" in caught.value.message
    assert "application.import" in caught.value.fix


def test_an_op_of_no_imported_module_is_named(client: WeaveClient, shapes: Published) -> None:
    with pytest.raises(ConfigurationError, match=r"op/shout:\w+ is defined by none of chat_only"):
        instances("chat_only").model(shapes["shout"])


def test_a_module_that_cannot_be_imported_is_named_with_the_interpreter() -> None:
    with pytest.raises(ConfigurationError) as caught:
        import_modules(["no_such_module"])
    for part in (sys.executable, "no_such_module", "ModuleNotFoundError"):
        assert part in caught.value.message


def test_a_model_that_is_an_evaluation_is_refused(client: WeaveClient, shapes: Published) -> None:
    with pytest.raises(ConfigurationError, match=r"neither a weave.Model nor an op"):
        instances("odd_shapes").model(shapes["evaluation"])
    with pytest.raises(ConfigurationError, match=r"is of class Nested, not Evaluation"):
        instances("odd_shapes").evaluation(shapes["nested"])


@pytest.mark.parametrize(("name", "op"), [("model", "Shifting.predict"), ("with_op", "even")])
def test_another_source_than_the_published_one_is_named_with_both_digests(
    client: WeaveClient, shifting: Published, name: str, op: str
) -> None:
    made = instances("shifting")
    with pytest.raises(ConfigurationError) as caught:
        made.model(shifting[name]) if name == "model" else made.evaluation(shifting[name])
    assert f"The op {op} is not the published one" in caught.value.message
    assert caught.value.message.count(" has source ") == 2
    assert "allow_stored_code: true" in caught.value.fix


def test_fields_that_the_installed_class_does_not_have_are_named(
    client: WeaveClient, shifting: Published
) -> None:
    with pytest.raises(ConfigurationError, match=r"does not fit shifting\.Widened: more: Field"):
        instances("shifting").model(shifting["widened"])


def test_stored_code_runs_where_it_is_allowed_and_differs(
    client_with_code: WeaveClient, shifting: Published
) -> None:
    model = instances("shifting", allow_stored_code=True).model(shifting["model"])
    assert isinstance(model, sys.modules["shifting"].Shifting)
    assert model.predict(1) == 7  # and the plain method is the installed class's
    ref = get_ref(model)
    assert ref
    assert ref.uri == shifting["model"]


def test_a_stored_scorer_of_an_unknown_class_runs_with_its_own_summary(
    client_with_code: WeaveClient, shifting: Published
) -> None:
    made = instances("shifting", allow_stored_code=True)
    before = versions(client_with_code)
    summary, root = run(
        client_with_code, made.evaluation(shifting["with_class"]), made.model(shifting["model"])
    )
    assert summary["Gone"] == {"most": 16.0}
    assert input_uri(root, "self") == shifting["with_class"]
    assert not new_versions(client_with_code, before)


def test_a_stored_op_runs_where_it_is_allowed(
    client_with_code: WeaveClient, shifting: Published
) -> None:
    evaluation = instances("shifting", allow_stored_code=True).evaluation(shifting["with_op"])
    assert evaluation.scorers is not None
    assert evaluation.scorers[0](output=2) is True  # type: ignore[operator]


def test_no_stored_code_runs_where_it_is_not_allowed(
    client: WeaveClient, shapes: Published
) -> None:
    """The client of these tests raises before it runs any."""
    evaluation = instances("odd_shapes").evaluation(shapes["evaluation"])
    assert evaluation.preprocess_model_input is sys.modules["odd_shapes"].as_text
    assert ObjectRef.parse_uri(shapes["evaluation"]) == get_ref(evaluation)
