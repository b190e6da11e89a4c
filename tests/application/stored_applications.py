"""Applications of every shape, published, and the versions that are made of them."""

from types import ModuleType
from typing import Any

import pytest
import weave
from pydantic import BaseModel
from weave.trace.context.weave_client_context import (
    require_weave_client,
    set_weave_client_global,
)
from weave.trace.refs import ObjectRef
from weave.trace.settings import replace_settings
from weave.trace.weave_client import WeaveClient

from application.rag import ChatModel, RagModel, VectorStore
from application.stored_json import read_json
from tests.applications import self_loading
from tests.weave_clients import end

OLD = "wandb-artifact:///acme/wandb-registry-Chat Models/Support:v1"


class Judge(weave.Object):
    model: str
    scale: float = 1.0


class Settings(BaseModel):
    model: str = "gpt-4.1-mini"
    retries: int = 2


class Panel(weave.Model):
    """One of everything that a path can lead through or to."""

    config: dict[str, Any]
    judges: list[Judge]
    settings: Settings
    top_k: int = 3
    transform: Any = None
    tool: Any = None
    knowledge: Any = None
    index: Any = None

    @weave.op
    def predict(self, question: str) -> str:
        return question


class Indexed(weave.Object):
    model: str
    index: Any
    judge: Judge


@weave.op
def shout(text: str) -> str:
    return text.upper()


def whisper(text: str) -> str:
    return text.lower()


def panel() -> Panel:
    """Return a panel that was never published."""
    return Panel(
        config={
            "llm": {"name": "gpt-4.1", "limits": [1, 2]},
            "chat": {"chat_model": OLD, "cm_temperature": 0.5},
        },
        judges=[Judge(model="judge-a"), Judge(model="judge-b")],
        settings=Settings(),
        transform=whisper,
        tool=shout,
        knowledge=weave.Dataset(name="facts", rows=[{"text": "CO2 rises."}]),
        index=content(),
    )


def rag_model() -> RagModel:
    """The application that comes with Weighbridge; its index is never searched here."""
    return RagModel(
        chat_model=ChatModel(
            chat_model=OLD,
            cm_temperature=0.0,
            cm_max_new_tokens=16,
            cm_quantize=False,
            inference_batch_size=8,
            dtype=None,
            device="auto",
        ),
        vector_store=VectorStore(passages=[], embedding_model="minilm", index=content()),
        system_prompt=weave.StringPrompt("Answer."),
        user_prompt=weave.StringPrompt("{context} {question}"),
        n_documents=2,
    )


def content() -> Any:
    """A value that is stored in files of its own."""
    return weave.Content.from_bytes(
        b"index", mimetype="application/octet-stream", extension="faiss"
    )


def published(value: Any, name: str | None = None) -> str:
    ref = weave.publish(value, name or type(value).__name__)
    require_weave_client().flush()
    return str(ref.uri)


def stored(uri: str) -> Any:
    return read_json(ObjectRef.parse_uri(uri))[1]


def at(uri: str, path: str) -> Any:
    """Read with plain Weave what a path leads to; none of its parts is an op."""
    value = weave.ref(uri).get()
    for part in path.split("."):
        if isinstance(value, list):
            value = value[int(part)]
        else:
            value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def changed(before: Any, after: Any) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def versions(client: WeaveClient) -> set[tuple[str, str]]:
    found = client.server.objs_query({"project_id": client.project_id, "filter": {}})
    return {(one.object_id, one.digest) for one in found.objs}


def published_by_team(client: WeaveClient, application: ModuleType, version: str = OLD) -> str:
    """Publish one of ``tests/applications`` by its team's own code.

    Args:
        client: The current client, which refuses stored code; the team's code uses its own.
        application: The module.
        version: The model that it uses.
    """
    with pytest.MonkeyPatch.context() as team:
        team.setenv("WEAVE_IMPLICITLY_PATCH_INTEGRATIONS", "false")
        # It would load the version's weights.
        team.setattr(
            self_loading.SelfLoadingChatModel, "model_post_init", lambda self, context: None
        )
        set_weave_client_global(None)
        model, _evaluation = application.publish(client.project_id, version)
        end(require_weave_client())
    set_weave_client_global(client)
    replace_settings({"allow_unsafe_custom_obj_decode": False})
    return str(model)
