"""Versions as JSON: what is read can be published again, in any project."""

from weave.trace.refs import CallRef, ObjectRef, OpRef
from weave.trace.weave_client import WeaveClient

from application.stored_json import (
    custom_type,
    field_names,
    is_text,
    object_reference,
    publish_json,
    read_json,
    reference,
)
from tests.application import stored_applications
from tests.application.stored_applications import published, stored


def test_publishing_what_was_read_gives_the_version_that_was_there(
    weave_project: WeaveClient,
) -> None:
    for application in (stored_applications.panel(), stored_applications.rag_model()):
        ref = ObjectRef.parse_uri(published(application))
        digest, value = read_json(ref)
        assert digest == ref.digest
        assert publish_json(ref.entity, ref.project, ref.name, value).uri == ref.uri


def test_a_text_is_a_reference_if_it_is_a_whole_one() -> None:
    assert isinstance(reference("weave:///e/p/object/Chat:abc"), ObjectRef)
    assert isinstance(reference("weave:///e/p/op/Chat.ask:abc"), OpRef)
    assert isinstance(reference("weave:///e/p/call/1"), CallRef)
    for text in ("weave:///", "weave:///e/p/table", "weave:///e/p/thing/x:1", "gpt-4.1", 3, None):
        assert reference(text) is None
    assert object_reference("weave:///e/p/op/Chat.ask:abc") is None


def test_what_weave_could_not_store_is_no_text() -> None:
    assert is_text("gpt-4.1")
    assert is_text("<unk> at 0x")
    assert not is_text("<function as_prompt at 0x7f4f3332f920>")
    assert not is_text("weave:///e/p/op/Chat.ask:abc")
    assert not is_text(3)


def test_an_objects_class_is_none_of_its_fields(weave_project: WeaveClient) -> None:
    panel = stored(published(stored_applications.panel()))
    assert field_names(panel)[:3] == ["name", "description", "config"]
    assert not any(name.startswith("_") for name in field_names(panel))
    assert field_names({"_key": 1}) == ["_key"]
    assert (custom_type(panel), field_names(panel["index"])) == (None, [])
    assert str(custom_type(panel["index"])).endswith("Content")
