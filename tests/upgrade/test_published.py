"""A RagModel and an Evaluation that were published by version 0.1.0 are still weighed.

Their ops were published from modules below `worker.rag`, and Weave has stored that source.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import wandb
import weave
from weave.trace.settings import replace_settings
from weave.trace.weave_client import WeaveClient

from application.rag.serving import serving
from application.rebuild import load_evaluation, rebuild
from schemas.gates import Gate
from schemas.refs import WeaveRef
from tests.application.rag.conftest import FakeEndpoint
from worker.evaluation import evaluate
from worker.verdict.checks import check_thresholds

_NEW = "wandb-artifact:///wandb32/wandb-registry-RAG Chat Models/Finetuned SmolLM2:v9"


@pytest.fixture
def run(old_project: str) -> Iterator[wandb.Run]:
    with wandb.init(job_type="model_evaluation", settings=wandb.Settings(console="off")) as run:
        yield run


@pytest.mark.parametrize("allow_stored_code", [False, True])
def test_a_published_application_is_weighed_under_a_published_evaluation(
    old_weave: WeaveClient, old_gate: Gate, run: wandb.Run, *, allow_stored_code: bool
) -> None:
    replace_settings({"allow_unsafe_custom_obj_decode": allow_stored_code})
    evaluation = load_evaluation(str(old_gate.evaluation), allow_stored_code=allow_stored_code)
    rebuilt = rebuild(str(old_gate.rag_model), _NEW, old_gate.chat_model)
    with serving(_NEW, FakeEndpoint()):
        evaluated = evaluate(old_weave, run, evaluation, rebuilt.model, concurrency=8)
    assert len(evaluated.rows) == evaluated.of_rows == 66
    correctness, _, recall, _ = (check.value for check in check_thresholds(old_gate, evaluated))
    assert correctness is not None
    assert correctness < 0.55  # every answer is "in 1958"
    assert recall is not None
    assert recall > 0.8  # retrieval works as before


def _stored(client: WeaveClient, ref: WeaveRef) -> dict[str, Any]:
    answer = client.server.obj_read(
        {"project_id": ref.project_path, "object_id": ref.name, "digest": ref.digest}
    )
    value: Any = answer.obj.val
    return dict(value)


def test_the_rebuilt_application_keeps_everything_but_the_chat_model(
    old_weave: WeaveClient, old_gate: Gate
) -> None:
    rebuilt = rebuild(str(old_gate.rag_model), _NEW, old_gate.chat_model)
    old, new = (
        _stored(old_weave, ref) for ref in (WeaveRef.parse(str(old_gate.rag_model)), rebuilt.ref)
    )
    for field in ("vector_store", "system_prompt", "user_prompt", "n_documents"):
        assert new[field] == old[field]
    assert new["chat_model"] != old["chat_model"]


def test_stored_ops_still_find_the_modules_that_their_source_imports(
    old_weave: WeaveClient, old_gate: Gate
) -> None:
    replace_settings({"allow_unsafe_custom_obj_decode": True})
    model = weave.ref(str(old_gate.rag_model)).get()
    assert callable(model.chat_model.predict)
