"""What a gate's author reads about an ``exchange`` that names no model."""

import re
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from weave.trace.refs import ObjectRef
from weave.trace.weave_client import WeaveClient

from application.exchange import exchange, exchanged_value, resolved_application
from schemas.errors import ConfigurationError
from schemas.gates import ChatModelParameters
from schemas.refs import ArtifactRef
from tests.application import stored_applications
from tests.application.stored_applications import (
    published,
    published_by_team,
    shout,
    stored,
    versions,
)
from tests.applications import chat_only
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


REFUSED = {
    # The path: a part of what is said. {app} is the application.
    "judge.0.model": (
        "judge.0.model leads nowhere in {app}: the application is an object of class Panel "
        "and has no judge. Write a path to the model's name; the application has config, "
        "judges, settings, top_k, transform, knowledge, index."
    ),
    "config.llm.nam": (
        "config.llm.nam leads nowhere in {app}: config.llm is a dictionary and has no nam. "
        "Write a path to the model's name; config.llm has name, limits."
    ),
    "judges.2.model": (
        "judges.2.model leads nowhere in {app}: judges is a list of 2 and has no position 2. "
        "The positions of judges are 0 to 1."
    ),
    "judges.-1.model": "judges is a list of 2 and has no position -1.",
    "judges.0.model.id": 'judges.0.model is the value "judge-a" and has no id.',
    "judges.0._class_name": "judges.0 is an object of class Judge and has no _class_name.",
    "judges": (
        "judges of {app} is a list of 2; a model version takes the place of a text, or of the "
        "text chat_model in an object. The positions of judges are 0 to 1."
    ),
    "judges.0": (
        "judges.0 of {app} is an object of class Judge; a model version takes the place of a "
        "text, or of the text chat_model in an object. Write a path to the model's name; "
        "judges.0 has model, scale."
    ),
    "config.llm": "config.llm of {app} is a dictionary;",
    "config.llm.limits.0": "config.llm.limits.0 of {app} is the value 1;",
    "top_k": (
        "top_k of {app} is the value 3; a model version takes the place of a text, or of the "
        "text chat_model in an object. Write a path to the model's name; the application has "
        "config, judges, settings, transform, knowledge, index."
    ),
    "description": "description of {app} is empty;",
    "predict": "predict of {app} is the op Panel.predict;",
    "predict.model": "predict is the op Panel.predict and has no model.",
    "tool": "tool of {app} is the op shout;",
    "transform": (
        "transform of {app} is what Weave keeps of a function or object that it cannot store, "
        "<function whisper at 0x"
    ),
    "knowledge.rows": "knowledge.rows of {app} is a table of rows;",
    "index": "index of {app} is a stored Content;",
    "index.files": "index is a stored Content and has no files.",
}


def test_a_path_to_nothing_that_can_be_exchanged_is_refused(
    weave_project: WeaveClient, panel: str, version: ArtifactRef, subtests: pytest.Subtests
) -> None:
    before = versions(weave_project)
    for path, message in REFUSED.items():
        with subtests.test(path):
            with pytest.raises(ConfigurationError) as caught:
                exchange(panel, path, version)
            assert f"exchange: {path} " in str(caught.value)
            assert message.format(app=panel) in str(caught.value)
            with pytest.raises(ConfigurationError, match=re.escape(str(caught.value))):
                exchanged_value(panel, path)
    assert versions(weave_project) == before


def test_a_chat_model_that_is_no_text_is_refused(
    weave_project: WeaveClient, version: ArtifactRef
) -> None:
    app = published({"rag": stored_applications.rag_model()}, "Wrapped")
    with pytest.raises(
        ConfigurationError,
        match=r"rag\.chat_model of .* is an object of class ChatModel; .*"
        r" rag\.chat_model has chat_model, cm_temperature, ",
    ):
        exchange(app, "rag", version)


def test_parameters_need_an_object(panel: str, version: ArtifactRef) -> None:
    parameters = ChatModelParameters(cm_temperature=0, device="cpu")
    with pytest.raises(
        ConfigurationError,
        match=r"chat_model sets cm_temperature, device, but exchange: judges\.0\.model of .* is a"
        r" text, which has no parameters\. Remove chat_model from the gate",
    ):
        exchange(panel, "judges.0.model", version, parameters)


def test_a_parameter_that_the_object_does_not_have_is_named(
    panel: str, version: ArtifactRef
) -> None:
    parameters = ChatModelParameters(cm_temperature=0, device="cpu")
    with pytest.raises(
        ConfigurationError,
        match=r"chat_model sets device, which exchange: config\.chat of .*, a dictionary, does not"
        r" have\. Remove it from the gate; config\.chat has chat_model, cm_temperature\.",
    ):
        exchange(panel, "config.chat", version, parameters)


def test_an_op_is_no_application(weave_project: WeaveClient, version: ArtifactRef) -> None:
    op = published(shout, "shout")
    for uri in (op, op.replace("/op/", "/object/")):
        with pytest.raises(ConfigurationError, match=r"shout:.* is an op, which has no fields"):
            exchange(uri, "model_name", version)
        with pytest.raises(ConfigurationError, match=r"is an op.* Publish a weave\.Model"):
            resolved_application(uri)


def test_a_missing_application_is_named(weave_project: WeaveClient, version: ArtifactRef) -> None:
    missing = f"weave:///{weave_project.project_id}/object/SupportBot:latest"
    with pytest.raises(ConfigurationError, match=r"object/SupportBot:latest does not exist"):
        exchange(missing, "model_name", version)
    with pytest.raises(ConfigurationError, match="is not a reference to a Weave object"):
        exchange("SupportBot", "model_name", version)


def test_a_nested_object_that_was_deleted_is_named(
    weave_project: WeaveClient, publish: Callable[..., str], version: ArtifactRef
) -> None:
    app = publish(chat_only)
    weave_project.delete_object_version(ObjectRef.parse_uri(stored(app)["pipeline"]))
    with pytest.raises(
        ConfigurationError,
        match=r"exchange: pipeline\.llm\.model cannot be followed in .*ChatOnly:.*: pipeline is"
        r" stored elsewhere\. .*Pipeline:.* does not exist\. Publish the application again",
    ):
        exchange(app, "pipeline.llm.model", version)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [("latest/attr/model", "refers to itself"), ("latest/attr/other", "does not exist")],
)
def test_a_reference_that_leads_nowhere_is_named(
    weave_project: WeaveClient, version: ArtifactRef, reference: str, reason: str
) -> None:
    name = f"weave:///{weave_project.project_id}/object/Circle"
    app = published({"model": f"{name}:{reference}"}, "Circle")
    with pytest.raises(
        ConfigurationError, match=rf"exchange: model .*: model is .*Circle:.* {reason}"
    ):
        exchange(app, "model", version)
