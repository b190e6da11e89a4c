"""Published objects and ops, with the real client."""

from collections.abc import Callable

import httpx
import pytest
import weave
from weave.trace.serialization.digest import compute_object_digest
from weave.trace.weave_client import WeaveClient

from local_wandb import LocalWandb

Connect = Callable[[LocalWandb, str, str], WeaveClient]


class Chat(weave.Model):
    temperature: float

    @weave.op
    def predict(self, question: str) -> str:
        return question.upper()


class Rag(weave.Model):
    chat: Chat
    prompt: weave.StringPrompt
    documents: int = 3

    @weave.op
    def predict(self, question: str) -> str:
        return self.chat.predict(self.prompt.format(question=question))


def test_prompts_come_back_as_prompts(weave_client: WeaveClient) -> None:
    text = weave.publish(weave.StringPrompt("Answer: {question}"), name="user")
    messages = weave.publish(
        weave.MessagesPrompt([{"role": "system", "content": "Be {tone}."}]), name="system"
    )
    weave_client.flush()
    assert weave.ref(text.uri).get().format(question="why?") == "Answer: why?"
    assert weave.ref(messages.uri).get().format(tone="brief") == [
        {"role": "system", "content": "Be brief."}
    ]


def test_a_nested_model_comes_back_with_its_ops(weave_client: WeaveClient) -> None:
    model = Rag(chat=Chat(temperature=0.1), prompt=weave.StringPrompt("> {question}"))
    ref = weave.publish(model)
    weave_client.flush()

    read = weave.ref(ref.uri).get()
    assert (read.chat.temperature, read.documents) == (0.1, 3)
    assert read.chat.predict("why?") == "WHY?"
    temperature = weave.ref(f"{ref.uri}/attr/chat/attr/temperature").get()
    assert temperature == 0.1


def test_a_changed_value_is_a_new_version_and_an_earlier_value_is_not(
    connect: Connect, server: LocalWandb, project_id: str
) -> None:
    # With a shared cache the client would not send the first value again.
    digests = []
    for process, k in enumerate((1, 2, 1)):
        weave_client = connect(server, project_id, f"process-{process}")
        digests.append(weave.publish({"k": k}, name="settings").digest)
        weave_client.flush()
    assert digests[0] == digests[2] == compute_object_digest({"k": 1})
    assert weave.ref("settings:v0").get() == {"k": 1}
    assert weave.ref("settings:v1").get() == {"k": 2}
    assert weave.ref("settings:latest").get() == {"k": 1}
    versions = weave_client._objects({"object_ids": ["settings"]})
    assert [(v.version_index, v.is_latest) for v in versions] == [(0, 1), (1, 0)]


def test_aliases_move_and_tags_stay(weave_client: WeaveClient) -> None:
    first = weave.publish({"k": 1}, name="settings")
    second = weave.publish({"k": 2}, name="settings")
    weave_client.flush()
    weave_client.set_aliases(first, "production")
    weave_client.add_tags(first, ["checked", "old"])
    weave_client.remove_tags(first, ["old", "never there"])
    weave_client.set_aliases(second, ["production", "candidate"])
    weave_client.remove_aliases(second, "candidate")

    assert weave_client.get_tags(first) == ["checked"]
    assert weave_client.get_aliases(first) == []
    assert sorted(weave_client.get_aliases(second)) == ["latest", "production"]
    assert weave.ref("settings:production").get() == {"k": 2}
    assert (weave_client.list_tags(), weave_client.list_aliases()) == (
        ["checked"],
        ["latest", "production"],
    )
    [tagged] = weave_client._objects({"tags": ["checked"]})
    assert tagged.digest == first.digest


def test_a_deleted_version_is_not_found_and_latest_moves_back(weave_client: WeaveClient) -> None:
    first = weave.publish({"k": 1}, name="settings")
    second = weave.publish({"k": 2}, name="settings")
    weave_client.flush()
    weave_client.delete_object_version(second)
    with pytest.raises(ValueError, match="was deleted"):
        weave_client.get(second)
    assert weave_client._objects({"object_ids": ["settings"]})[0].digest == first.digest
    assert weave_client.get_aliases(first) == ["latest"]
    assert weave_client.delete_all_object_versions("settings") == 1


def test_objects_are_found_by_class(weave_client: WeaveClient) -> None:
    weave.publish(Rag(chat=Chat(temperature=0.1), prompt=weave.StringPrompt("{question}")))
    weave_client.flush()
    models = weave_client._objects({"base_object_classes": ["Model"]})
    assert {model.leaf_object_class for model in models} == {"Rag", "Chat"}
    assert len(weave_client._objects({"leaf_object_classes": ["Rag"]})) == 1
    others = weave_client._objects({"exclude_base_object_classes": ["Model"]})
    assert {other.base_object_class for other in others} == {"Prompt"}


def test_a_file_larger_than_memory_buffers_survives(weave_client: WeaveClient) -> None:
    content = bytes(range(256)) * 40_000
    ref = weave.publish(weave.Content.from_bytes(content, extension="bin"), name="index")
    weave_client.flush()
    assert weave.ref(ref.uri).get().data == content


def test_a_wrong_digest_is_a_conflict(http: httpx.Client, project_id: str) -> None:
    new = {"project_id": project_id, "object_id": "x", "val": 1, "expected_digest": "other"}
    answer = http.post("/obj/create", json={"obj": new})
    assert answer.status_code == 409
    upload = {"project_id": project_id, "expected_digest": "other"}
    answer = http.post("/file/create", data=upload, files={"file": ("obj.py", b"pass")})
    assert answer.status_code == 409
    content = {"project_id": project_id, "digest": "other"}
    assert http.post("/file/content", json=content).status_code == 404


def test_a_name_keeps_its_base_class(http: httpx.Client, project_id: str) -> None:
    def publish(base: str) -> httpx.Response:
        val = {"_class_name": "Mine", "_bases": [base, "Object", "BaseModel"]}
        new = {"project_id": project_id, "object_id": "mine", "val": val}
        return http.post("/obj/create", json={"obj": new})

    assert publish("Model").status_code == 200
    assert publish("Scorer").status_code == 400
    assert "base class Model" in publish("Scorer").json()["reason"]


def test_a_reference_leads_through_lists_keys_and_other_references(
    http: httpx.Client, project_id: str
) -> None:
    def publish(name: str, val: object) -> str:
        new = {"project_id": project_id, "object_id": name, "val": val}
        digest = http.post("/obj/create", json={"obj": new}).json()["digest"]
        return f"weave:///{project_id}/object/{name}:{digest}"

    inner = publish("inner", {"a/b": [1, 2]})
    outer = publish("outer", {"inner": inner, "self": f"weave:///{project_id}/object/outer:latest"})
    steps = [
        "key/a%2Fb/index/1",
        "key/a%2Fb/index/2",
        f"key/a%2Fb/index/{'9' * 5000}",
        "key/x/key/y",
    ]
    refs = [f"{outer}/attr/inner/{step}" for step in steps]
    vals = http.post("/refs/read_batch", json={"refs": [*refs, f"{outer}/attr/inner"]}).json()[
        "vals"
    ]
    assert vals == [2, None, None, None, inner]
